/**
 * Lists of messages: the index gives the order, the records say which of them are wanted. A page reads a bounded number of
 * records, so that it may hold fewer messages than were asked for, or none, and still say where to go on.
 *
 * A cursor is a place in the order and not a count: mail that arrives or goes meanwhile moves nothing.
 */
import { AppError } from '../errors.ts';
import type { Address } from '../mime/message.ts';
import { listChunk, listScanMax } from './limits.ts';
import type { MessageIndex, Position, SortKey } from './message-index.ts';
import { toSummary, type MessageKind, type MessageRecord, type MessageSummary } from './message.ts';
import type { RecordStore } from './record-store.ts';

/** Times in epoch milliseconds, `Since` inclusive, `Until` exclusive. */
export interface MessageQuery {
  mailboxId?: string;
  fetchId?: string;
  /** Substrings of a name or an address, or of the subject, whatever their case. */
  from?: string;
  to?: string;
  subject?: string;
  fetchedSince?: number;
  fetchedUntil?: number;
  receivedSince?: number;
  receivedUntil?: number;
  hasAttachment?: boolean;
  kind?: MessageKind;
  acknowledged?: boolean;
  sort: SortKey;
  order: 'newest' | 'oldest';
  limit: number;
  cursor: string | null;
}

export interface MessageListPage {
  items: MessageSummary[];
  nextCursor: string | null;
}

export interface ListPorts {
  index: Pick<MessageIndex, 'list'>;
  records: Pick<RecordStore, 'read'>;
  clock: { now(): number };
}

/** @throws AppError `invalid_request` for a cursor of another list. */
export async function listMessages(ports: ListPorts, tenant: string, query: MessageQuery): Promise<MessageListPage> {
  const { sort, order, limit } = query;
  const nowMs = ports.clock.now();
  const isWanted = matcherOf(query);
  const items: MessageSummary[] = [];
  let after = query.cursor === null ? null : readCursor(query.cursor, sort, order);
  for (let scanned = 0; scanned < listScanMax;) {
    const chunk = Math.min(listChunk, listScanMax - scanned);
    const positions = await ports.index.list(tenant, query.mailboxId ?? null, { ...spanOf(query), after }, chunk);
    const read = await ports.records.read(
      tenant,
      positions.map(({ id }) => id),
    );
    for (const [at, position] of positions.entries()) {
      const record = read[at]?.record;
      if (record && Date.parse(record.expiresAt) > nowMs && isWanted(record)) {
        // One more than is wanted has been found: there is a next page, and it begins with this one.
        if (items.length === limit && after) return { items, nextCursor: writeCursor(after, sort, order) };
        items.push(toSummary(record));
      }
      after = position;
    }
    if (positions.length < chunk) return { items, nextCursor: null };
    scanned += positions.length;
  }
  return { items, nextCursor: after && writeCursor(after, sort, order) };
}

function spanOf(query: MessageQuery) {
  const { sort, order } = query;
  const [from, until] =
    sort === 'fetched' ? [query.fetchedSince, query.fetchedUntil] : [query.receivedSince, query.receivedUntil];
  return { sort, order, from: from ?? Number.MIN_SAFE_INTEGER, until: until ?? Number.MAX_SAFE_INTEGER };
}

function matcherOf(query: MessageQuery): (record: MessageRecord) => boolean {
  const { fetchId, hasAttachment, kind, acknowledged } = query;
  const from = foldCase(query.from);
  const to = foldCase(query.to);
  const subject = foldCase(query.subject);
  return (record) =>
    (fetchId === undefined || record.fetchId === fetchId) &&
    (from === undefined || anyHolds(record.from, from)) &&
    (to === undefined || anyHolds(record.to, to) || anyHolds(record.cc, to)) &&
    (subject === undefined || (foldCase(record.subject ?? '') ?? '').includes(subject)) &&
    isWithin(record.fetchedAt, query.fetchedSince, query.fetchedUntil) &&
    isWithin(record.receivedAt ?? record.fetchedAt, query.receivedSince, query.receivedUntil) &&
    (hasAttachment === undefined || record.attachmentCount > 0 === hasAttachment) &&
    (kind === undefined || record.kinds.includes(kind)) &&
    (acknowledged === undefined || (record.acknowledgedAt !== null) === acknowledged);
}

function foldCase(text: string | undefined): string | undefined {
  return text?.normalize('NFKC').toLowerCase();
}

function anyHolds(addresses: readonly Address[], text: string): boolean {
  return addresses.some(({ name, address }) => foldCase(`${name ?? ''} <${address ?? ''}>`)?.includes(text));
}

function isWithin(time: string, since = Number.MIN_SAFE_INTEGER, until = Number.MAX_SAFE_INTEGER): boolean {
  const atMs = Date.parse(time);
  return atMs >= since && atMs < until;
}

function writeCursor({ score, id }: Position, sort: SortKey, order: string): string {
  return Buffer.from(JSON.stringify([sort, order, score, id])).toString('base64url');
}

function readCursor(cursor: string, sort: SortKey, order: string): Position {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (Array.isArray(parts) && parts[0] === sort && parts[1] === order) {
      const [score, id]: unknown[] = parts.slice(2);
      if (typeof score === 'number' && typeof id === 'string' && /^msg_[0-9a-z]+$/.test(id)) return { score, id };
    }
  } catch {
    // Said below.
  }
  const errors = [{ in: 'query', pointer: '/cursor', detail: 'is not the nextCursor of a list in this order' }];
  throw new AppError(
    'invalid_request',
    'The request is not valid: query/cursor is not the nextCursor of a list in this order.',
    {
      fields: { errors },
    },
  );
}
