/**
 * What a complete listing says of unique-ids that it is without. One listing alone says nothing: servers that fail over, restore or
 * migrate show a part of a maildrop, or none, for a while. Pure.
 */
import type { LedgerEntry } from './ledger.ts';
import { absentCountEverySeconds, absentListingsMin, absentSecondsMin } from './limits.ts';

/** The ledger with what is absent counted, and without what has been so for long; the same map where nothing changes. */
export function countAbsent(
  ledger: ReadonlyMap<string, LedgerEntry>,
  listed: ReadonlySet<string>,
  nowSeconds: number,
): ReadonlyMap<string, LedgerEntry> {
  let isChanged = false;
  const counted = new Map<string, LedgerEntry>();
  for (const [key, entry] of ledger) {
    const absent = listed.has(key) || !key.startsWith('uidl:') ? null : countOne(entry.absent, nowSeconds);
    isChanged ||= !isSame(absent, entry.absent) || isForgotten(absent, nowSeconds);
    if (!isForgotten(absent, nowSeconds)) counted.set(key, { ...entry, absent });
  }
  return isChanged ? counted : ledger;
}

type Absence = LedgerEntry['absent'];

/** Fetches that follow each other closely see the same trouble of the server: one an hour counts. */
function countOne(absent: Absence, nowSeconds: number): Absence {
  if (absent === null) return { listings: 1, since: nowSeconds };
  const isDue = nowSeconds - absent.since >= absent.listings * absentCountEverySeconds;
  return isDue && absent.listings < absentListingsMin ? { ...absent, listings: absent.listings + 1 } : absent;
}

function isForgotten(absent: Absence, nowSeconds: number): boolean {
  return absent !== null && absent.listings >= absentListingsMin && nowSeconds - absent.since >= absentSecondsMin;
}

function isSame(a: Absence, b: Absence): boolean {
  return a?.listings === b?.listings && a?.since === b?.since;
}
