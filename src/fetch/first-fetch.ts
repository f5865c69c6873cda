/** What is left aside of a maildrop that is looked at for the first time. Pure. */
import type { FirstFetch } from '../mailbox/policies.ts';
import type { SkippedEntry } from './ledger.ts';
import { keyListing, type Listed } from './plan.ts';

/** Entries for the messages that are not wanted; without unique-ids none can be told from what will come. */
export function skipOlder(
  first: FirstFetch,
  listing: readonly Listed[],
  nowSeconds: number,
): Map<string, SkippedEntry> {
  const kept = first === 'all' ? listing.length : first === 'new_only' ? 0 : first.last;
  const older = keyListing(listing).slice(0, Math.max(0, listing.length - kept));
  return new Map(
    older.flatMap(({ key, bytes }) =>
      key === null
        ? []
        : [
            [
              key,
              { state: 'skipped', reason: 'before_first_fetch', filter: 0, at: nowSeconds, bytes, absent: null },
            ] as const,
          ],
    ),
  );
}
