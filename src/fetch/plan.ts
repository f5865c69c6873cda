/** The plan: the listing held against the ledger gives what to retrieve, in order, within the fetch's limits. Pure. */
import { messageKey } from '../identity.ts';
import type { FetchLimits, MessageFilter } from '../mailbox/policies.ts';
import type { MessageFailure } from './fetch.ts';
import { filterMark, isWantedBySize } from './filter.ts';
import type { DeletedEntry, LedgerEntry, StoredEntry } from './ledger.ts';
import { brokenHeadersMax } from './limits.ts';

export interface Listed {
  number: number;
  /** As the server states it; null where LIST left it out. */
  bytes: number | null;
  uidl: string | null;
}

export interface PlannedMessage extends Listed {
  /** The ledger's key; null without a unique-id, where only the bytes tell. */
  key: string | null;
  /** How many earlier messages of the listing have the same unique-id. */
  occurrence: number;
  /** An earlier attempt's session broke on it. */
  isSuspect: boolean;
}

export interface StoredMessage extends PlannedMessage {
  key: string;
  entry: StoredEntry;
}

export interface Plan {
  retrieve: readonly PlannedMessage[];
  /** Too large to be retrieved: their header section tells what they are. */
  headersOnly: readonly PlannedMessage[];
  /** Too large, and sessions broke on their header section. */
  leftOut: readonly Listed[];
  /** Stored before, and still listed. */
  stored: readonly StoredMessage[];
  /** Not wanted, by the size that the server states. */
  unwanted: readonly PlannedMessage[];
  /** Left for another fetch. */
  skipped: number;
  limitReached: 'messages' | 'bytes' | null;
}

/** The messages that the server was asked to delete, and whose unique-ids it lists no more. */
export function findGone(
  listing: readonly Listed[],
  ledger: ReadonlyMap<string, LedgerEntry>,
): Map<string, DeletedEntry> {
  const listed = new Set(keyListing(listing).map(({ key }) => key));
  return new Map(
    [...ledger].flatMap(([key, entry]) =>
      entry.state === 'deleted' && key.startsWith('uidl:') && !listed.has(key) ? [[key, entry]] : [],
    ),
  );
}

/** Tells messages with one unique-id apart, by their order in the listing. */
export function keyListing(listing: readonly Listed[]): (Listed & { key: string | null; occurrence: number })[] {
  const seen = new Map<string, number>();
  return listing.map((listed) => {
    const { uidl } = listed;
    if (uidl === null) return { ...listed, key: null, occurrence: 0 };
    const occurrence = seen.get(uidl) ?? 0;
    seen.set(uidl, occurrence + 1);
    return { ...listed, key: messageKey({ uidl, occurrence }), occurrence };
  });
}

/** @param before what earlier attempts of this fetch have retrieved, against its limits. */
export function planFetch(
  listing: readonly Listed[],
  ledger: ReadonlyMap<string, LedgerEntry>,
  { limits, filter = {} }: { limits: FetchLimits; filter?: MessageFilter | undefined },
  before: { messages: number; bytes: number },
): Plan {
  const mark = filterMark(filter);
  const fresh: PlannedMessage[] = [];
  const suspects: PlannedMessage[] = [];
  const oversize: PlannedMessage[] = [];
  const broken: PlannedMessage[] = [];
  const leftOut: Listed[] = [];
  const stored: StoredMessage[] = [];
  const unwanted: PlannedMessage[] = [];

  for (const keyed of keyListing(listing)) {
    const entry = keyed.key === null ? undefined : ledger.get(keyed.key);
    const message = { ...keyed, isSuspect: entry?.state === 'suspect' };
    const { key } = keyed;
    if (entry?.state === 'skipped' && (entry.filter === 0 || entry.filter === mark)) continue;
    if (key !== null && entry?.state === 'stored' && isSame(entry, keyed)) {
      stored.push({ ...message, key, entry });
    } else if (!isWantedBySize(filter, keyed.bytes)) {
      unwanted.push(message);
    } else if (entry?.state === 'oversize' && entry.broke > 0) {
      if (entry.broke >= brokenHeadersMax) leftOut.push(keyed);
      else broken.push({ ...message, isSuspect: true });
    } else if (entry?.state === 'oversize' || (keyed.bytes !== null && keyed.bytes > limits.messageBytes)) {
      oversize.push(message);
    } else (message.isSuspect ? suspects : fresh).push(message);
  }

  // One message that breaks the session must not keep the others from coming.
  const wanted = [...fresh, ...suspects];
  const { count, limitReached } = countWithin(wanted, limits, before);
  const large = [...oversize, ...broken];
  const headersOnly = large.slice(0, Math.max(0, limits.messages - before.messages - count));
  return {
    retrieve: wanted.slice(0, count),
    headersOnly,
    leftOut,
    stored,
    unwanted,
    skipped: wanted.length + large.length - count - headersOnly.length,
    limitReached: headersOnly.length < large.length ? 'messages' : limitReached,
  };
}

/** Servers reuse unique-ids, though they must not (RFC 1939 §7). What is not surely the same mail is retrieved again. */
function isSame({ bytes }: { bytes: number | null }, listed: Listed): boolean {
  return bytes !== null && bytes === listed.bytes;
}

export function tooLarge(listed: Listed, limits: FetchLimits): MessageFailure {
  const size = listed.bytes === null || listed.bytes <= limits.messageBytes ? '' : ` of ${listed.bytes} bytes`;
  const detail = `The message${size} is over the limit of ${limits.messageBytes} bytes (limits.messageBytes). It stays on the server.`;
  return { number: listed.number, uidl: listed.uidl, code: 'message_too_large', detail };
}

/** At least one message is taken where none has been, so that a low limit on bytes never stands still. */
function countWithin(
  wanted: readonly PlannedMessage[],
  limits: FetchLimits,
  before: { messages: number; bytes: number },
): { count: number; limitReached: Plan['limitReached'] } {
  let { messages, bytes } = before;
  for (const [index, message] of wanted.entries()) {
    messages += 1;
    bytes += message.bytes ?? 0;
    if (messages > limits.messages) return { count: index, limitReached: 'messages' };
    if (bytes > limits.bytes && messages > 1) return { count: index, limitReached: 'bytes' };
  }
  return { count: wanted.length, limitReached: null };
}
