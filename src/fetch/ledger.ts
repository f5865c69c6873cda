/**
 * The ledger: what is known of each message of a maildrop, by its key (see `identity.ts`). Its mark is the commit point: a message
 * that is marked as stored is never retrieved again. A fetch with inline settings has a ledger of its own; a stored mailbox has one
 * for all its fetches. Times are seconds since 1970.
 */
import { messageIdOfKey } from '../identity.ts';
import type { Fetch } from './fetch.ts';

interface Known {
  /** When it came to that state. */
  at: number;
  /** As LIST stated them: another size under the same unique-id may be another mail. Null where it did not say. */
  bytes: number | null;
  /** In how many complete listings in a row it was missing, and since when; null while it is listed. */
  absent: { listings: number; since: number } | null;
}

/** Retrieved, durable and announced. */
export interface StoredEntry extends Known {
  state: 'stored';
  /** The message's id, where it does not follow from the key: another mail has had the unique-id before. */
  ownId: string | null;
  /** The first 96 bits of the SHA-256 of its bytes, in hex; null where they were not retrieved whole. */
  digest: string | null;
  /** Until when popbridge keeps the message. */
  keptUntil: number;
  /** Its owner has acknowledged it, or deleted it here. */
  isReleased: boolean;
}

/** Left on the server, and not to be looked at again, unless the filter changes. */
export interface SkippedEntry extends Known {
  state: 'skipped';
  reason: SkipReason;
  /** The mark of the filter that did not want it: another filter may. Zero where it was none. */
  filter: number;
}

/** It was there when the mailbox was new, and only what comes later is wanted; or the filter does not want it, by its size or a header field. */
export type SkipReason = 'before_first_fetch' | 'filter_size' | 'filter_headers';

/** Larger than the server had said: the next attempt takes its header section only. */
export interface OversizeEntry extends Known {
  state: 'oversize';
  /** How many sessions broke on asking for that. */
  broke: number;
}

/** The session broke while it was retrieved: the next attempt leaves it for last. */
export interface SuspectEntry extends Known {
  state: 'suspect';
}

/**
 * It was stored, and the server was asked to delete it: what stands under its unique-id now is looked at afresh, as the server may
 * have kept it, or given the unique-id to another mail.
 */
export interface DeletedEntry extends Known {
  state: 'deleted';
  ownId: string | null;
  digest: string | null;
}

export type LedgerEntry = StoredEntry | SkippedEntry | OversizeEntry | SuspectEntry | DeletedEntry;

/** What the fetch says of a message that it has stored. */
export interface Retrieved {
  messageId: string;
  /** Its place in the maildrop. */
  number: number;
  as: 'retrieved' | 'omitted';
  bytes: number;
}

/** The fetch that reads or writes it. */
export type LedgerUser = Pick<Fetch, 'tenant' | 'id' | 'mailboxId' | 'retentionMs'>;

export interface Ledger {
  /** By key. @throws AppError `storage_failed` where it is damaged. */
  readLedger(fetch: LedgerUser): Promise<Map<string, LedgerEntry>>;
  /** Counts a stored message as the fetch's, once, and marks it. @throws AppError `lease_lost` when fenced off. */
  commit(fetch: LedgerUser, token: number, key: string, entry: LedgerEntry, retrieved?: Retrieved): Promise<void>;
  /** Marks several messages, and counts none. @throws AppError `lease_lost` when fenced off. */
  mark(fetch: LedgerUser, token: number, entries: ReadonlyMap<string, LedgerEntry>): Promise<void>;
}

export function messageIdOf(
  { mailboxId }: Pick<LedgerUser, 'mailboxId'>,
  key: string,
  { ownId }: Pick<StoredEntry, 'ownId'>,
): string {
  return ownId ?? messageIdOfKey(mailboxId, key);
}
