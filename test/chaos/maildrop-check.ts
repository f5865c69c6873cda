/**
 * The checker: a maildrop of a real Dovecot, the mailbox that is fetched from it through a fault proxy, and whether in the end all of its
 * mail is here, once, under the ids that it must have, and nothing was deleted upstream before it was.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { messageId } from '../../src/identity.ts';
import type { Dovecot } from '../support/dovecot.ts';
import { readEvents, type EventBody } from '../support/event-feed.ts';
import type { FetchBody, Service } from '../support/service.ts';
import { startFaultProxy, type Fault, type FaultProxy } from './fault-proxy.ts';

export const PASSWORD = 'chaos';
const ENDED = new Set(['succeeded', 'failed', 'cancelled']);

export interface TrialOptions {
  dovecot: Dovecot;
  user: string;
  mails: readonly Buffer[];
  policy: 'never' | 'stored';
  fault?(connection: number): Fault | null;
  onServerBytes?(total: number): void;
  /** What the client sends is held back until this resolves. */
  onLine?(line: string): Promise<void>;
  /** A process that stands still has its connection open while another one goes on: 1 unless set. */
  sessionsMax?: number;
  /** Of now: it may be another process than a moment ago. */
  service(): Promise<Service>;
}

export interface Trial {
  readonly proxy: FaultProxy;
  readonly mailbox: string;
  /** Fetches until all is fetched and nothing fails, and checks everything. */
  run(): Promise<void>;
  close(): Promise<void>;
}

export const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export async function startTrial(options: TrialOptions): Promise<Trial> {
  const { user, mails, policy, dovecot } = options;
  let mailbox = '';

  /** What is to be deleted must be here by now: its record, and all its bytes. */
  async function checkBeforeDeletion(uidl: string): Promise<void> {
    const id = messageId(mailbox, { uidl, occurrence: 0 });
    const raw = await ask((service) => service.api('GET', `/v1/messages/${id}/raw`));
    if (raw.status !== 200) throw new Error(`${uidl} is to be deleted upstream and not here: ${raw.status}`);
    if (!mails.some((mail) => mail.equals(raw.bytes)))
      throw new Error(`${uidl} is to be deleted, and its bytes are not here`);
  }

  const proxy = await startFaultProxy({
    port: dovecot.port,
    ...(options.fault && { fault: options.fault }),
    ...(options.onServerBytes && { onServerBytes: options.onServerBytes }),
    async onClientLine(line, { uidls }) {
      await options.onLine?.(line);
      const number = /^DELE (\d+)$/i.exec(line)?.[1];
      if (number !== undefined) await checkBeforeDeletion(uidls.get(Number(number)) ?? '');
    },
  });

  /** However often the service dies meanwhile. */
  async function ask<T>(question: (service: Service) => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries += 1) {
      try {
        return await question(await options.service());
      } catch (error) {
        if (tries > 20) throw error;
        await delay(50);
      }
    }
  }

  const source = { host: '127.0.0.1', port: proxy.port, tls: 'none', username: user, password: PASSWORD };
  const made = await ask((service) => service.api('POST', '/v1/mailboxes', { body: { source, delete: policy } }));
  expect(made.status, made.text).toBe(201);
  mailbox = (made.json() as components['schemas']['Mailbox']).id;

  async function fetchOnce(): Promise<FetchBody> {
    return ask(async (service) => {
      const started = await service.api('POST', `/v1/mailboxes/${mailbox}/fetches`, { headers: { prefer: 'wait=30' } });
      const fetch = started.json() as FetchBody;
      if (started.status === 503 || !ENDED.has(fetch.state)) throw new Error(`Not ended: ${started.text}`);
      return fetch;
    });
  }

  /** Each message is told of once, and so is its deletion, however often somebody died on the way there. */
  async function checkEvents(ids: readonly string[]): Promise<void> {
    const events = await ask((service) => readEvents(service, `&mailbox=${mailbox}`));
    const subjectsOf = (type: EventBody['type']): string[] =>
      events.filter((event) => event.type === type).map(({ subject }) => subject);
    expect(subjectsOf('message.received').sort()).toEqual(ids.toSorted());
    expect(subjectsOf('message.deleted_upstream').sort()).toEqual(policy === 'never' ? [] : ids.toSorted());
    expect(events.map(({ sequence }) => Number(sequence))).toEqual(events.map((_, at) => at + 1));
  }

  async function checkAll(): Promise<void> {
    const summaries = await ask(async (service) => {
      const page = await service.api('GET', `/v1/messages?mailbox=${mailbox}&limit=100`);
      return (page.json() as components['schemas']['MessageSummaryPage']).items;
    });
    expect(summaries.map((message) => message.digest ?? '').sort()).toEqual(mails.map(digest).sort());
    expect(summaries.filter(({ duplicateOf }) => duplicateOf !== null)).toEqual([]);
    const ledger = await ask(async (service) => {
      const page = await service.api('GET', `/v1/mailboxes/${mailbox}/ledger?limit=1000`);
      return (page.json() as components['schemas']['LedgerPage']).items;
    });
    const derived = ledger.map(({ uidl }) => messageId(mailbox, { uidl: uidl ?? '', occurrence: 0 }));
    expect(ledger.map((entry) => entry.messageId)).toEqual(derived);
    expect(summaries.map(({ id }) => id).sort()).toEqual(derived.sort());
    for (const { id } of summaries) {
      const raw = await ask((service) => service.api('GET', `/v1/messages/${id}/raw`));
      expect(mails.some((mail) => mail.equals(raw.bytes))).toBe(true);
    }
    const upstream = (await dovecot.maildir(user)).map(digest).sort();
    expect(upstream).toEqual(policy === 'never' ? mails.map(digest).sort() : []);
    await checkEvents(derived);
    expect(proxy.complaints).toEqual([]);
    expect(proxy.openMax, 'sessions in one maildrop at once').toBeLessThanOrEqual(options.sessionsMax ?? 1);
  }

  return {
    proxy,
    mailbox,
    async run() {
      for (let fetches = 0; ; fetches += 1) {
        const { state, deletion, error } = await fetchOnce();
        if (state === 'succeeded' && deletion !== 'unknown') break;
        expect(fetches, `${state} ${error?.code} ${error?.detail}`).toBeLessThan(30);
      }
      await checkAll();
    },
    close: () => proxy.close(),
  };
}

/** Mails whose bytes all differ, of some sizes that matter: empty, of a line, over a piece. */
export function makeMails(count: number, random: () => number): Buffer[] {
  return Array.from({ length: count }, (_, at) => {
    const lines = at === 0 ? 0 : Math.floor(random() ** 3 * 3000);
    const text = Array.from({ length: lines }, (__, line) => `Line ${line} of mail ${at}, ${random()}.\r\n`).join('');
    return Buffer.from(`Subject: mail ${at} ${random()}\r\nFrom: a@example.com\r\n\r\n${text}`);
  });
}
