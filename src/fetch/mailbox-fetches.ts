/** Stored mailboxes as the API fetches them, and what it shows of their ledgers. It never connects to a mail server. */
import { AppError } from '../errors.ts';
import type { Mailbox } from '../mailbox/mailbox.ts';
import { maildropOf } from '../mailbox/source.ts';
import type { MailboxStore } from '../mailbox/mailbox-store.ts';
import type { Fetch } from './fetch.ts';
import type { Lease, Leases } from './lease.ts';
import { messageIdOf, type LedgerEntry } from './ledger.ts';
import type { MailboxLedger } from './mailbox-ledger.ts';
import type { FetchService } from './service.ts';

export interface KnownMessage {
  /** See `identity.ts`. */
  key: string;
  entry: LedgerEntry;
  messageId: string | null;
}

export interface LedgerQuery {
  state: LedgerEntry['state'] | null;
  /** Key; from behind it. */
  after: string | null;
  limit: number;
}

export interface MailboxFetches {
  /**
   * Writes and queues a fetch by the mailbox's settings.
   * @throws AppError `conflict` while its credentials are refused; `egress_blocked`.
   */
  fetch(mailbox: Mailbox): Promise<Fetch>;
  /** In the order of the keys; `next` is null on the last page. */
  listKnown(mailbox: Mailbox, query: LedgerQuery): Promise<{ items: KnownMessage[]; next: string | null }>;
  /** @throws AppError `conflict` while a fetch runs. */
  forget(mailbox: Mailbox): Promise<void>;
}

export interface MailboxFetchesPorts {
  fetches: Pick<FetchService, 'createOf' | 'enqueue'>;
  ledger: MailboxLedger;
  mailboxes: Pick<MailboxStore, 'begin'>;
  leases: Leases;
  uniqueId(): string;
  /** @throws AppError `egress_blocked`. */
  checkEgress(target: { host: string; port: number }): void;
}

export function createMailboxFetches(ports: MailboxFetchesPorts): MailboxFetches {
  const { fetches, ledger, mailboxes, leases } = ports;
  const ledgerRef = ({ tenant, mailbox }: Mailbox) => ({ tenant, mailboxId: mailbox });

  async function withLease(mailbox: Mailbox, work: (lease: Lease) => Promise<void>): Promise<void> {
    const maildrop = maildropOf(mailbox.tenant, mailbox.settings.source);
    const lease = await leases.acquire(mailbox.tenant, maildrop, ports.uniqueId());
    if (!lease) throw new AppError('conflict', 'A fetch of this mailbox is running. Try again when it has ended.');
    try {
      await work(lease);
    } finally {
      await lease.release();
    }
  }

  return {
    async fetch(mailbox) {
      if (mailbox.status.state === 'needs_credentials') throw refused(mailbox);
      ports.checkEgress(mailbox.settings.source);
      const fetch = await fetches.createOf(mailbox);
      await fetches.enqueue(fetch);
      return fetch;
    },
    async listKnown(mailbox, { state, after, limit }) {
      const known = await ledger.read(ledgerRef(mailbox));
      const keys = [...(known?.entries ?? [])]
        .filter(([key, entry]) => (after === null || key > after) && (state === null || entry.state === state))
        .sort(([a], [b]) => (a < b ? -1 : 1));
      const items = keys.slice(0, limit).map(([key, entry]) => {
        const isOurs = entry.state === 'stored' || entry.state === 'deleted';
        return { key, entry, messageId: isOurs ? messageIdOf(ledgerRef(mailbox), key, entry) : null };
      });
      return { items, next: keys.length > limit ? (items.at(-1)?.key ?? null) : null };
    },
    forget: (mailbox) =>
      withLease(mailbox, async ({ token }) => {
        if (!(await mailboxes.begin(mailbox, token))) return;
        await ledger.forget(ledgerRef(mailbox), token);
      }),
  };
}

function refused({ status }: Mailbox): AppError {
  const isGrant = status.failure?.code.startsWith('oauth2_') ?? false;
  const text = isGrant
    ? 'The OAuth2 grant of this mailbox gives no access token any more, see its `failure`. Give another one by PATCH first.'
    : 'The server has refused the credentials of this mailbox three times, and is left alone so that the account is not locked. ' +
      'Change them first.';
  return new AppError('conflict', text);
}
