/**
 * Fetches as the API sees them: create, look at, wait for, cancel, delete.
 *
 * It checks and records; it never connects to a mail server. `run.ts` does, in a worker.
 */
import { AppError } from '../errors.ts';
import { mailboxId } from '../identity.ts';
import type { MessageRecord } from '../message/message.ts';
import type { Credentials } from '../mailbox/credentials.ts';
import type { Mailbox } from '../mailbox/mailbox.ts';
import { describeGrant } from '../mailbox/oauth2/grant.ts';
import type { DeletePolicy, FetchLimits, MessageFilter } from '../mailbox/policies.ts';
import { checkGrant, hasCertificates, maildropOf, unreadableCertificates, type TlsMode } from '../mailbox/source.ts';
import { untraced, type Trace } from '../trace.ts';
import type { FetchStore } from './fetch-store.ts';
import type { Leases } from './lease.ts';
import { hasEnded, type Fetch, type FetchRef } from './fetch.ts';
import { createFetchOf, createFetchRecord } from './new-fetch.ts';
import { pageMessagesMax, waitRecheckMs } from './limits.ts';

export interface NewFetch {
  source: { host: string; port: number; tls: TlsMode; username: string; credentials: Credentials; ca: string | null };
  delete: DeletePolicy;
  limits: FetchLimits;
  filter?: MessageFilter;
  retentionMs: number;
}

export interface FetchServicePorts {
  clock: { now(): number };
  random(bytes: number): Buffer;
  records: FetchStore;
  credentials: { put(ref: FetchRef, credentials: Credentials): Promise<void>; delete(ref: FetchRef): Promise<void> };
  messages: {
    findRecord(tenant: string, id: string): Promise<MessageRecord | null>;
    remove(tenant: string, id: string): Promise<boolean>;
  };
  leases: Leases;
  trace?: Trace;
  uniqueId(): string;
  queue: {
    add(ref: FetchRef): Promise<void>;
    /** Adds the job again where it is gone, though the fetch has not ended. */
    restore(ref: FetchRef): Promise<void>;
    remove(ref: FetchRef): Promise<void>;
    /** Resolves when the queue says that this fetch's job is over, or after the time. */
    ended(ref: FetchRef, timeoutMs: number, signal: AbortSignal): Promise<void>;
  };
  /** @throws AppError `egress_blocked`. */
  checkEgress(target: { host: string; port: number }): void;
  /** @throws AppError `egress_blocked`. */
  checkTokenEndpoint(url: string): unknown;
}

export interface FetchService {
  /**
   * Checks the settings, seals the credentials and writes the record. Nothing runs before `enqueue`.
   * @throws AppError `egress_blocked`; `invalid_request` for certificates that cannot be read.
   */
  create(tenant: string, request: NewFetch): Promise<Fetch>;
  /** The same of a stored mailbox, by its settings as they are now. */
  createOf(mailbox: Mailbox): Promise<Fetch>;
  enqueue(ref: FetchRef): Promise<void>;
  find(ref: FetchRef): Promise<Fetch | null>;
  /** The fetch when it has ended, or as it stands after the time or the signal. */
  waitForEnd(ref: FetchRef, timeoutMs: number, signal: AbortSignal): Promise<Fetch | null>;
  /** A page of message ids in maildrop order; `nextOffset` is null on the last. */
  listMessageIds(ref: FetchRef, offset: number, limit: number): Promise<{ ids: string[]; nextOffset: number | null }>;
  /** A fetch that has not ended: ends it, or tells its worker to. */
  cancel(ref: FetchRef): Promise<void>;
  /**
   * A fetch that has ended, with the messages that it was the last to store.
   * @throws AppError `conflict` while another fetch of the same mailbox runs: it may be storing them anew.
   */
  delete(ref: FetchRef): Promise<void>;
}

export function createFetchService(ports: FetchServicePorts): FetchService {
  const { clock, records, credentials, messages, queue, trace = untraced } = ports;

  return {
    async create(tenant, { source, ...rest }) {
      const { credentials: given, ca, ...address } = source;
      ports.checkEgress(address);
      if (given.type === 'oauth2') checkGrant(describeGrant(given.grant), address.tls, ports.checkTokenEndpoint);
      if (ca !== null && !hasCertificates(ca)) throw unreadableCertificates();
      const inline = { isOfMailbox: false, isDryRun: false, firstFetch: 'all' } as const;
      const created = await createFetchRecord(ports, tenant, {
        mailboxId: mailboxId(tenant, address),
        source: address,
        ca,
        ...inline,
        ...rest,
      });
      await credentials.put(created, given);
      return created;
    },
    createOf: (mailbox) => createFetchOf(ports, mailbox, 'owner'),
    enqueue: (ref) =>
      trace.span({ name: 'fetch.enqueue', kind: 'producer', attributes: { 'popbridge.fetch.id': ref.id } }, () =>
        queue.add(ref),
      ),
    async find(ref) {
      const fetch = await records.find(ref);
      // A crash, or a Redis that lost its last second, may have taken the job and left the record.
      if (fetch && !hasEnded(fetch.state)) await queue.restore(ref);
      return fetch;
    },
    async waitForEnd(ref, timeoutMs, signal) {
      const untilMs = clock.now() + timeoutMs;
      for (;;) {
        const fetch = await records.find(ref);
        const leftMs = untilMs - clock.now();
        if (!fetch || hasEnded(fetch.state) || leftMs <= 0 || signal.aborted) return fetch;
        // The queue's event makes it prompt; looking again from time to time makes it sure.
        await queue.ended(ref, Math.min(leftMs, waitRecheckMs), signal);
      }
    },
    async listMessageIds(ref, offset, limit) {
      const ids = await records.listMessageIds(ref, offset, limit + 1);
      return { ids: ids.slice(0, limit), nextOffset: ids.length > limit ? offset + limit : null };
    },
    async cancel(ref) {
      const end = { state: 'cancelled', error: null, endedAt: new Date(clock.now()).toISOString() } as const;
      if (!(await records.end(ref, ['queued'], end))) {
        await records.requestCancel(ref);
        return;
      }
      await credentials.delete(ref);
      await queue.remove(ref);
    },
    async delete(ref) {
      const fetch = await records.find(ref);
      if (!fetch) return;
      const lease = await ports.leases.acquire(ref.tenant, maildropOf(ref.tenant, fetch.source), ports.uniqueId());
      if (!lease) throw mailboxBusy();
      try {
        for (let offset = 0; ; offset += pageMessagesMax) {
          const ids = await records.listMessageIds(ref, offset, pageMessagesMax);
          for (const id of ids) {
            const record = await messages.findRecord(ref.tenant, id);
            if (record?.fetchId === ref.id) await messages.remove(ref.tenant, id);
          }
          if (ids.length < pageMessagesMax) break;
          if (!(await lease.renew())) throw mailboxBusy();
        }
        await records.delete(ref);
      } finally {
        await lease.release();
      }
    },
  };
}

function mailboxBusy(): AppError {
  const text =
    'Another fetch of this mailbox is running and may be storing these messages anew. Try again when it has ended.';
  return new AppError('conflict', text);
}
