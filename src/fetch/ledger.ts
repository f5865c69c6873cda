/** The ledger: what a fetch knows of each message. Its mark is the commit point: a marked message is never fetched again. */
import type { FetchRef } from './fetch.ts';

export type LedgerEntry =
  /** `bytes` as LIST stated them: another size under the same unique-id is another mail. */
  | { state: 'stored'; number: number; messageId: string; bytes: number | null }
  /** Larger than the server had said: the next attempt takes its header section only. */
  | {
      state: 'oversize';
      number: number;
      /** How many sessions broke on asking for that. */
      broke?: number;
    }
  /** The session broke while it was retrieved: the next attempt leaves it for last. */
  | { state: 'suspect'; number: number };

/** What a stored message is counted as, once. */
export interface Retrieved {
  as: 'retrieved' | 'omitted';
  bytes: number;
}

export interface Ledger {
  /** By message key; see `identity.ts`. */
  readLedger(ref: FetchRef): Promise<Map<string, LedgerEntry>>;
  /** Marks a message, and counts a stored one. @throws AppError `lease_lost` when fenced off. */
  commit(
    fetch: FetchRef & { retentionMs: number },
    token: number,
    key: string,
    entry: LedgerEntry,
    count?: Retrieved,
  ): Promise<void>;
}
