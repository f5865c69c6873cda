import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { LedgerEntry, StoredEntry } from '../../src/fetch/ledger.ts';
import { decodeEntry, decodeLedger, encodeEntry, encodeLedger } from '../../src/fetch/ledger-codec.ts';

const time = fc.integer({ min: 1_700_000_000, max: 4_000_000_000 });
const hex = (bytes: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((array) => Buffer.from(array).toString('hex'));

const known = {
  at: time,
  bytes: fc.option(fc.nat({ max: 2 ** 40 })),
  absent: fc.option(fc.record({ listings: fc.nat({ max: 1000 }), since: time })),
};

const entries: fc.Arbitrary<LedgerEntry> = fc.oneof(
  fc.record({
    ...known,
    state: fc.constant('stored' as const),
    ownId: fc.option(fc.constant(`msg_${'0'.repeat(32)}`)),
    digest: fc.option(hex(12)),
    keptUntil: fc.integer({ min: 4_000_000_000, max: 5_000_000_000 }),
    isReleased: fc.boolean(),
  }),
  fc.record({
    ...known,
    state: fc.constant('skipped' as const),
    filter: fc.constant(0),
    reason: fc.constant('before_first_fetch' as const),
  }),
  fc.record({
    ...known,
    state: fc.constant('skipped' as const),
    filter: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    reason: fc.constantFrom('filter_size' as const, 'filter_headers' as const),
  }),
  fc.record({ ...known, state: fc.constant('oversize' as const), broke: fc.nat({ max: 255 }) }),
  fc.record({ ...known, state: fc.constant('suspect' as const) }),
  fc.record({
    ...known,
    state: fc.constant('deleted' as const),
    ownId: fc.option(fc.constant(`msg_${'0'.repeat(32)}`)),
    digest: fc.option(hex(12)),
  }),
);

describe('an entry of the ledger', () => {
  test('comes back as it was written', () => {
    fc.assert(
      fc.property(entries, (entry) => {
        expect(decodeEntry(encodeEntry(entry))).toEqual(entry);
      }),
    );
  });
});

describe('a ledger', () => {
  test('comes back as it was written, whatever the unique-ids are', () => {
    const key = fc.string({ unit: 'binary', maxLength: 80 });
    fc.assert(
      fc.property(fc.array(fc.tuple(key, entries), { maxLength: 60 }), (listed) => {
        const ledger = new Map(listed);
        expect(decodeLedger(encodeLedger(ledger))).toEqual(ledger);
      }),
    );
  });

  test('that is damaged is said to be, and never half read', () => {
    const ledger = new Map([['uidl:0:a', entryOf('00'.repeat(12))]]);
    const bytes = encodeLedger(ledger);
    for (let at = 0; at < bytes.length; at += 1) {
      expect(() => decodeLedger(bytes.subarray(0, at))).toThrow(expect.objectContaining({ code: 'storage_failed' }));
    }
    expect(() => decodeLedger(Buffer.from([9, ...bytes.subarray(1)]))).toThrow(/damaged/);
  });

  test('takes under 60 bytes an entry with unique-ids as Dovecot makes them', () => {
    const ledger = new Map(
      Array.from({ length: 10_000 }, (_, at) => [
        `uidl:0:${(at + 1).toString(16).padStart(8, '0')}66a1b2c3`,
        entryOf(randomBytes(12).toString('hex')),
      ]),
    );
    expect(encodeLedger(ledger).length / ledger.size).toBeLessThan(60);
  });
});

function entryOf(digest: string): StoredEntry {
  return {
    state: 'stored',
    at: 1_764_000_000,
    bytes: 4321,
    ownId: null,
    keptUntil: 1_764_604_800,
    digest,
    isReleased: false,
    absent: null,
  };
}
