/** What tells that a server gives its unique-ids to other messages. */
import { describe, expect, test } from 'vitest';
import type { LedgerEntry } from '../../src/fetch/ledger.ts';
import { warningKeepMs } from '../../src/fetch/limits.ts';
import { findingsOf, NO_FINDINGS, updateWarnings } from '../../src/fetch/mailbox-warnings.ts';
import { UniqueIdWatch } from '../../src/fetch/unique-ids.ts';

const entry = (digest: string): LedgerEntry => ({
  state: 'stored',
  at: 0,
  bytes: 1,
  ownId: null,
  digest,
  keptUntil: 0,
  isReleased: false,
  absent: null,
});
const deleted = (digest: string): LedgerEntry => ({
  state: 'deleted',
  at: 0,
  bytes: 1,
  ownId: null,
  digest,
  absent: null,
});
const ledgerOf = (entries: Record<string, LedgerEntry>) =>
  new Map(Object.entries(entries).map(([uidl, known]) => [`uidl:0:${uidl}`, known]));
const listingOf = (...uidls: string[]) => uidls.map((uidl, at) => ({ number: at + 1, bytes: 1, uidl }));

/** @param met unique-id and digest of what the session stores. */
function findings(known: Record<string, LedgerEntry>, listed: string[], met: [string, string][]): string[] {
  const watch = new UniqueIdWatch(ledgerOf(known), listingOf(...listed));
  for (const [uidl, digest] of met) watch.meet(`uidl:0:${uidl}`, digest);
  return watch.findings();
}

const KNOWN = { a: entry('aa'), b: entry('bb'), c: entry('cc') };

describe('a session', () => {
  test('finds that messages were numbered anew', () => {
    const met: [string, string][] = [
      ['1', 'aa'],
      ['2', 'bb'],
      ['3', 'cc'],
      ['4', 'new'],
    ];
    expect(findings(KNOWN, ['1', '2', '3', '4'], met)).toEqual(['unique_ids_changed']);
  });

  test('finds nothing in copies, in new mail, or in a message or two that were put back by hand', () => {
    expect(findings(KNOWN, ['a', 'b', 'c', 'd'], [['d', 'dd']])).toEqual([]);
    const copies: [string, string][] = [
      ['1', 'aa'],
      ['2', 'bb'],
      ['3', 'cc'],
    ];
    expect(findings(KNOWN, ['a', 'b', 'c', '1', '2', '3'], copies)).toEqual([]);
    expect(findings(KNOWN, ['1', '2', 'c'], copies.slice(0, 2))).toEqual([]);
    // Three of many: somebody has tidied up.
    const many = Array.from({ length: 10 }, (_, at): [string, string] => [`n${at}`, `n${at}`]);
    expect(findings(KNOWN, ['1', '2', '3', ...many.map(([uidl]) => uidl)], [...copies, ...many])).toEqual([]);
  });

  test('finds a unique-id that is given to another message, unless the first was deleted', () => {
    expect(findings(KNOWN, ['a', 'b', 'c'], [['b', 'other']])).toEqual(['unique_ids_reused']);
    // The server stated another size for the same bytes.
    expect(findings(KNOWN, ['a', 'b', 'c'], [['b', 'bb']])).toEqual([]);
    expect(findings({ b: deleted('bb') }, ['b'], [['b', 'other']])).toEqual([]);
  });

  test('finds nothing where the server has no unique-ids', () => {
    const watch = new UniqueIdWatch(ledgerOf(KNOWN), [{ number: 1, bytes: 1, uidl: null }]);
    for (const digest of ['aa', 'bb', 'cc']) watch.meet(null, digest);
    expect(watch.findings()).toEqual([]);
  });
});

describe('the warnings of a mailbox', () => {
  const at = (day: number): string => new Date(Date.UTC(2026, 0, day)).toISOString();
  const expiring = findingsOf({ loginDelay: null, expire: { days: 60, isPerUser: false } });
  const changed = { ...NO_FINDINGS, codes: ['unique_ids_changed'] as const };

  test('say since when, and when it was last seen', () => {
    const once = updateWarnings([], changed, at(1));
    expect(once).toEqual([{ code: 'unique_ids_changed', since: at(1), at: at(1) }]);
    expect(updateWarnings(once, changed, at(3))).toEqual([{ code: 'unique_ids_changed', since: at(1), at: at(3) }]);
  });

  test('are told for a while after they were seen, and what the server says as long as it says so', () => {
    const both = updateWarnings(updateWarnings([], changed, at(1)), expiring, at(2));
    expect(both.map(({ code }) => code)).toEqual(['unique_ids_changed', 'mail_expires']);
    expect(updateWarnings(both, NO_FINDINGS, at(3)).map(({ code }) => code)).toEqual(['unique_ids_changed']);
    const later = new Date(Date.parse(at(1)) + warningKeepMs).toISOString();
    expect(updateWarnings(both, NO_FINDINGS, later)).toEqual([]);
  });

  test('are none of a server that keeps its mail, or says nothing', () => {
    for (const expire of [null, { days: Infinity, isPerUser: false }]) {
      expect(findingsOf({ loginDelay: null, expire })).toEqual(NO_FINDINGS);
    }
  });
});
