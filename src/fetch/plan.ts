/** The plan: the listing held against the ledger gives what to retrieve, in order, within the fetch's limits. Pure. */
import { messageKey } from '../identity.ts';
import type { FetchLimits, MessageFailure } from './fetch.ts';
import type { LedgerEntry } from './ledger.ts';

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
}

export interface Plan {
  retrieve: readonly PlannedMessage[];
  /** Stored by an earlier attempt of this fetch, and still listed. */
  stored: readonly PlannedMessage[];
  failures: readonly MessageFailure[];
  /** Left for another fetch. */
  skipped: number;
  limitReached: 'messages' | 'bytes' | null;
  /** Stored by an earlier attempt, and listed no more. */
  goneCount: number;
}

/** @param before what earlier attempts of this fetch have retrieved, against its limits. */
export function planFetch(
  listing: readonly Listed[],
  ledger: ReadonlyMap<string, LedgerEntry>,
  limits: FetchLimits,
  before: { messages: number; bytes: number },
): Plan {
  const fresh: PlannedMessage[] = [];
  const suspects: PlannedMessage[] = [];
  const stored: PlannedMessage[] = [];
  const failures: MessageFailure[] = [];
  const seen = new Map<string, number>();
  const listedKeys = new Set<string>();

  for (const listed of listing) {
    const occurrence = listed.uidl === null ? 0 : (seen.get(listed.uidl) ?? 0);
    if (listed.uidl !== null) seen.set(listed.uidl, occurrence + 1);
    const key = listed.uidl === null ? null : messageKey({ uidl: listed.uidl, occurrence });
    if (key !== null) listedKeys.add(key);
    const message = { ...listed, key, occurrence };
    const entry = key === null ? undefined : ledger.get(key);
    if (entry?.state === 'stored') stored.push(message);
    else if (entry?.state === 'failed') failures.push(failureOf(listed, entry.code, entry.detail));
    else if (listed.bytes !== null && listed.bytes > limits.messageBytes) failures.push(tooLarge(listed, limits));
    else (entry?.state === 'suspect' ? suspects : fresh).push(message);
  }

  // One message that breaks the session must not keep the others from coming.
  const wanted = [...fresh, ...suspects];
  const { count, limitReached } = countWithin(wanted, limits, before);
  const goneCount = [...ledger].filter(
    ([key, { state }]) => state === 'stored' && key.startsWith('uidl:') && !listedKeys.has(key),
  ).length;
  return {
    retrieve: wanted.slice(0, count),
    stored,
    failures,
    skipped: wanted.length - count,
    limitReached,
    goneCount,
  };
}

export function tooLarge(listed: Listed, limits: FetchLimits): MessageFailure {
  const size = listed.bytes === null || listed.bytes <= limits.messageBytes ? '' : ` of ${listed.bytes} bytes`;
  const detail = `The message${size} is over the limit of ${limits.messageBytes} bytes (limits.messageBytes). It stays on the server.`;
  return failureOf(listed, 'message_too_large', detail);
}

function failureOf({ number, uidl }: Listed, code: MessageFailure['code'], detail: string): MessageFailure {
  return { number, uidl, code, detail };
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
