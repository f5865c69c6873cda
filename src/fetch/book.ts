/**
 * The book of a session: what is known of the maildrop while it is worked on, and where that is written down. A fetch with inline
 * settings has its own ledger; of a stored mailbox there is one for all fetches, and the rules that go with knowing it for months.
 */
import { countAbsent } from './absence.ts';
import type { Fetch } from './fetch.ts';
import { skipOlder } from './first-fetch.ts';
import { messageIdOf, type Ledger, type LedgerEntry, type Retrieved } from './ledger.ts';
import type { MailboxLedger } from './mailbox-ledger.ts';
import { keyListing, type Listed } from './plan.ts';

export interface Book {
  /** What is known of the maildrop, whose listing this is. @throws AppError `storage_failed`, `lease_lost`. */
  open(listing: readonly Listed[]): Promise<ReadonlyMap<string, LedgerEntry>>;
  /** Counts a stored message as the fetch's, once, and marks it. @throws AppError `lease_lost` when fenced off. */
  commit(key: string, entry: LedgerEntry, retrieved?: Retrieved): Promise<void>;
  /** Marks several, and counts none. @throws AppError `lease_lost` when fenced off. */
  mark(entries: ReadonlyMap<string, LedgerEntry>): Promise<void>;
  /** They were listed, and are not any more. */
  noteGone(keys: readonly string[]): void;
  /** The session has seen to all of the listing. @throws AppError `lease_lost` when fenced off. */
  settle(): Promise<void>;
}

/** @param token of the maildrop's lease. */
export function openFetchBook(ledger: Ledger, fetch: Fetch, token: number): Book {
  return {
    open: () => ledger.readLedger(fetch),
    commit: (key, entry, retrieved) => ledger.commit(fetch, token, key, entry, retrieved),
    mark: (entries) => ledger.mark(fetch, token, entries),
    noteGone: () => {},
    settle: async () => {},
  };
}

/** @param token of the maildrop's lease. */
export function openMailboxBook(ledger: MailboxLedger, fetch: Fetch, token: number, clock: { now(): number }): Book {
  let entries: ReadonlyMap<string, LedgerEntry> = new Map();
  let listed = new Set<string>();
  let wantsFolding = false;
  const changed = new Map<string, LedgerEntry>();
  const nowSeconds = (): number => Math.floor(clock.now() / 1000);

  async function markReleased(): Promise<void> {
    const released = await ledger.released(fetch);
    if (released.size === 0) return;
    const marks = new Map<string, LedgerEntry>();
    for (const [key, entry] of entries) {
      if (entry.state !== 'stored' || !released.has(messageIdOf(fetch, key, entry))) continue;
      marks.set(key, { ...entry, isReleased: true });
    }
    await mark(marks);
    await ledger.settleReleased(fetch, [...released]);
    entries = new Map([...entries, ...marks]);
  }

  async function mark(marks: ReadonlyMap<string, LedgerEntry>): Promise<void> {
    await ledger.mark(fetch, token, marks);
    for (const [key, entry] of marks) changed.set(key, entry);
  }

  return {
    mark,
    async open(listing) {
      listed = new Set(keyListing(listing).flatMap(({ key }) => (key === null ? [] : [key])));
      const known = await ledger.read(fetch);
      if (known === null) {
        entries = skipOlder(fetch.firstFetch, listing, nowSeconds());
        // An empty ledger is one, too: the next fetch is no longer the first.
        await ledger.replace(fetch, token, entries);
        return entries;
      }
      ({ entries, wantsFolding } = known);
      await markReleased();
      return entries;
    },
    async commit(key, entry, retrieved) {
      await ledger.commit(fetch, token, key, entry, retrieved);
      changed.set(key, entry);
    },
    noteGone(keys) {
      for (const key of keys) listed.delete(key);
    },
    async settle() {
      const whole = changed.size === 0 ? entries : new Map([...entries, ...changed]);
      const counted = countAbsent(whole, listed, nowSeconds());
      if (wantsFolding || counted !== whole) await ledger.replace(fetch, token, counted);
    },
  };
}
