/** What the contract shows of a mailbox's ledger. */
import type { components, operations } from '../contract.gen.ts';
import type { KnownMessage, MailboxFetches } from '../fetch/mailbox-fetches.ts';
import type { Mailbox } from '../mailbox/mailbox.ts';

type EntryBody = components['schemas']['LedgerEntry'];
type Query = NonNullable<operations['listLedger']['parameters']['query']>;

export async function readKnown(
  known: Pick<MailboxFetches, 'listKnown'>,
  mailbox: Mailbox,
  { state, limit = 100, cursor }: Query,
): Promise<components['schemas']['LedgerPage']> {
  const after = cursor === undefined ? null : Buffer.from(cursor, 'base64url').toString();
  const { items, next } = await known.listKnown(mailbox, { state: state ?? null, after, limit });
  return { items: items.map(toBody), nextCursor: next === null ? null : Buffer.from(next).toString('base64url') };
}

function toBody({ key, entry, messageId }: KnownMessage): EntryBody {
  const [, kind = '', occurrence = '0', rest = ''] = /^(\w+):(\d+):(.*)$/s.exec(key) ?? [];
  const isStored = entry.state === 'stored';
  return {
    uidl: kind === 'uidl' ? rest : null,
    occurrence: Number(occurrence),
    digest: isStored || entry.state === 'deleted' ? entry.digest : null,
    state: entry.state,
    reason: entry.state === 'skipped' ? entry.reason : null,
    messageId,
    bytes: entry.bytes,
    at: time(entry.at),
    keptUntil: isStored ? time(entry.keptUntil) : null,
    released: isStored && entry.isReleased,
    absentSince: entry.absent && time(entry.absent.since),
  };
}

function time(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
