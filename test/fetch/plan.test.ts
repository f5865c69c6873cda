import { skippedByFilter } from '../../src/fetch/filter.ts';
import { describe, expect, test } from 'vitest';
import type { FetchLimits, MessageFilter } from '../../src/mailbox/policies.ts';
import type { LedgerEntry } from '../../src/fetch/ledger.ts';
import { findGone, planFetch, tooLarge, type Listed, type Plan } from '../../src/fetch/plan.ts';

const LIMITS: FetchLimits = { messages: 100, bytes: 10_000, messageBytes: 1_000, seconds: 60 };
const NOTHING = { messages: 0, bytes: 0 };

/** `a b c` is three messages of 10 bytes; `a:500` states a size, `-` has no unique-id, `a:?` no size. */
function list(text: string): Listed[] {
  return text.split(' ').flatMap((word, index) => {
    if (word === '') return [];
    const [uidl = '', size = '10'] = word.split(':');
    return { number: index + 1, bytes: size === '?' ? null : Number(size), uidl: uidl === '-' ? null : uidl };
  });
}

const KNOWN = { at: 1_764_000_000, bytes: 10, absent: null };
const stored = (number: number, bytes: number | null = 10): LedgerEntry => ({
  ...KNOWN,
  state: 'stored',
  ownId: `msg_${number}`,
  bytes,
  digest: null,
  keptUntil: KNOWN.at,
  isReleased: false,
});
const SKIPPED: LedgerEntry = { ...KNOWN, state: 'skipped', reason: 'before_first_fetch', filter: 0 };
const DELETED: LedgerEntry = { ...KNOWN, state: 'deleted', ownId: null, digest: null };
const refused = (filter: MessageFilter): LedgerEntry => skippedByFilter({ bytes: 10 }, 'filter_size', filter, 0);
const suspect = (): LedgerEntry => ({ ...KNOWN, state: 'suspect' });
const oversize = (broke = 0): LedgerEntry => ({ ...KNOWN, state: 'oversize', broke });

function plan(
  listing: string,
  ledger: Record<string, LedgerEntry> = {},
  limits: Partial<FetchLimits> = {},
  before = NOTHING,
  filter?: MessageFilter,
): Plan {
  return planFetch(
    list(listing),
    new Map(Object.entries(ledger)),
    { limits: { ...LIMITS, ...limits }, filter },
    before,
  );
}

/** Numbers of what is retrieved, and the rest that matters. */
function brief({ retrieve, headersOnly, stored, unwanted, skipped, limitReached }: Plan) {
  const numbers = (messages: readonly { number: number }[]): number[] => messages.map(({ number }) => number);
  return {
    retrieve: numbers(retrieve),
    stored: numbers(stored),
    unwanted: numbers(unwanted),
    headersOnly: numbers(headersOnly),
    skipped,
    limitReached,
  };
}

const EMPTY = { retrieve: [], stored: [], unwanted: [], headersOnly: [], skipped: 0, limitReached: null };

describe('what is retrieved', () => {
  test.each<[what: string, plan: Plan, expected: Partial<typeof EMPTY> | object]>([
    ['nothing of an empty maildrop', plan(''), {}],
    ['everything, in order, the first time', plan('a b c'), { retrieve: [1, 2, 3] }],
    [
      'again what has another size than when it was stored: the server has reused the unique-id',
      plan('a:20 b', { 'uidl:0:a': stored(1), 'uidl:0:b': stored(2) }),
      { retrieve: [1], stored: [2] },
    ],
    [
      'again what no size tells apart from another mail',
      plan('a:? b', { 'uidl:0:a': stored(1, null), 'uidl:0:b': stored(2, null) }),
      { retrieve: [1, 2] },
    ],
    ['not what is stored already', plan('a b c', { 'uidl:0:b': stored(2) }), { retrieve: [1, 3], stored: [2] }],
    [
      'of what turned out to be too large the header section',
      plan('a b c', { 'uidl:0:a': oversize() }),
      { retrieve: [2, 3], headersOnly: [1] },
    ],
    [
      'what broke the session before comes last',
      plan('a b c d', { 'uidl:0:a': suspect(), 'uidl:0:c': suspect() }),
      { retrieve: [2, 4, 1, 3] },
    ],
    ['messages without unique-ids, all of them', plan('- - -'), { retrieve: [1, 2, 3] }],
    [
      'one without a unique-id among others',
      plan('a - c', { 'uidl:0:a': stored(1) }),
      { retrieve: [2, 3], stored: [1] },
    ],
    ['each of those that share a unique-id', plan('a a b a'), { retrieve: [1, 2, 3, 4] }],
    [
      'of those that share one, those that are not stored',
      plan('a a b a', { 'uidl:0:a': stored(1), 'uidl:2:a': stored(4) }),
      { retrieve: [2, 3], stored: [1, 4] },
    ],
    ['one whose size the server left out', plan('a:? b'), { retrieve: [1, 2] }],
    ['of one that is over the size the header section', plan('a:1001 b:1000'), { retrieve: [2], headersOnly: [1] }],
    ['one that is stored is not too large after all', plan('a:1001', { 'uidl:0:a': stored(1, 1001) }), { stored: [1] }],
  ])('%s', (_what, actual, expected) => {
    expect(brief(actual)).toEqual({ ...EMPTY, ...expected });
  });

  test('each message carries the key of its ledger entry, and none where only the bytes tell', () => {
    expect(plan('a a - b').retrieve.map(({ number, key, occurrence }) => ({ number, key, occurrence }))).toEqual([
      { number: 1, key: 'uidl:0:a', occurrence: 0 },
      { number: 2, key: 'uidl:1:a', occurrence: 1 },
      { number: 3, key: null, occurrence: 0 },
      { number: 4, key: 'uidl:0:b', occurrence: 0 },
    ]);
  });

  test('a unique-id that reads like a property of every object is one like others', () => {
    const words = '__proto__ constructor toString';
    expect(plan(words).retrieve.map(({ key }) => key)).toEqual(words.split(' ').map((word) => `uidl:0:${word}`));
  });
});

describe('the limits', () => {
  test.each<[what: string, plan: Plan, expected: object]>([
    ['messages, exactly', plan('a b', {}, { messages: 2 }), { retrieve: [1, 2] }],
    ['messages', plan('a b c', {}, { messages: 2 }), { retrieve: [1, 2], skipped: 1, limitReached: 'messages' }],
    [
      'messages, of which an earlier attempt had some',
      plan('a b c', { 'uidl:0:a': stored(1) }, { messages: 2 }, { messages: 1, bytes: 10 }),
      { retrieve: [2], stored: [1], skipped: 1, limitReached: 'messages' },
    ],
    [
      'messages, of which an earlier attempt had all',
      plan('a b', { 'uidl:0:a': stored(1) }, { messages: 1 }, { messages: 1, bytes: 10 }),
      { stored: [1], skipped: 1, limitReached: 'messages' },
    ],
    ['bytes, exactly', plan('a b', {}, { bytes: 20 }), { retrieve: [1, 2] }],
    ['bytes', plan('a b c', {}, { bytes: 25 }), { retrieve: [1, 2], skipped: 1, limitReached: 'bytes' }],
    [
      'bytes, but at least one message, so that it never stands still',
      plan('a:500 b c', {}, { bytes: 100 }),
      { retrieve: [1], skipped: 2, limitReached: 'bytes' },
    ],
    [
      'bytes, and not one more where an earlier attempt had one',
      plan('a b:500', { 'uidl:0:a': stored(1) }, { bytes: 100 }, { messages: 1, bytes: 10 }),
      { stored: [1], skipped: 1, limitReached: 'bytes' },
    ],
    ['sizes that are not known count nothing', plan('a:? b:? c', {}, { bytes: 10 }), { retrieve: [1, 2, 3] }],
    [
      'what is too large takes what is left of them, and no bytes',
      plan('a:5000 b c d', { 'uidl:0:b': stored(2) }, { messages: 3, bytes: 20 }),
      { retrieve: [3, 4], headersOnly: [1], stored: [2] },
    ],
    [
      'what is too large comes after all that is not',
      plan('a:5000 b:5000 c d', {}, { messages: 3 }, { messages: 0, bytes: 0 }),
      { retrieve: [3, 4], headersOnly: [1], skipped: 1, limitReached: 'messages' },
    ],
    [
      'a suspect is the first to be left out',
      plan('a b c', { 'uidl:0:a': suspect() }, { messages: 2 }),
      { retrieve: [2, 3], skipped: 1, limitReached: 'messages' },
    ],
    [
      'again what the server was asked to delete, and still lists',
      plan('a b', { 'uidl:0:a': DELETED, 'uidl:0:b': stored(2) }),
      { retrieve: [1], stored: [2] },
    ],
    [
      'nothing that the filter does not want, not even its header section; and what has no size',
      plan('a:10 b:11 c:?', {}, { messageBytes: 5 }, NOTHING, { bytesMax: 10 }),
      { retrieve: [3], headersOnly: [1], unwanted: [2] },
    ],
    [
      'nothing that the same filter did not want before, whatever it was for; another filter is asked',
      plan('a b c', { 'uidl:0:a': refused({ bytesMax: 5 }), 'uidl:0:b': refused({ bytesMax: 50 }) }, {}, NOTHING, {
        bytesMax: 50,
      }),
      { retrieve: [1, 3] },
    ],
    ['what a filter did not want that is gone', plan('a', { 'uidl:0:a': refused({ bytesMax: 5 }) }), { retrieve: [1] }],
    [
      'what was stored before the filter came as it was',
      plan('a:20', { 'uidl:0:a': stored(1, 20) }, {}, NOTHING, { bytesMax: 5 }),
      { stored: [1] },
    ],
    ['nothing that was skipped for good', plan('a', { 'uidl:0:a': SKIPPED }), {}],
    ['one message under both limits at once', plan('a', {}, { messages: 1, bytes: 1 }), { retrieve: [1] }],
  ])('%s', (_what, actual, expected) => {
    expect(brief(actual)).toEqual({ ...EMPTY, ...expected });
  });
});

describe('what is gone', () => {
  test.each<[what: string, listing: string, ledger: Record<string, LedgerEntry>, gone: number]>([
    ['was to be deleted, and is listed no more', 'c', { 'uidl:0:a': DELETED, 'uidl:0:b': DELETED }, 2],
    ['was to be deleted, and is still listed', 'a', { 'uidl:0:a': DELETED }, 0],
    ['one of two that shared a unique-id', 'a', { 'uidl:0:a': DELETED, 'uidl:1:a': DELETED }, 1],
    ['nobody had asked for', '', { 'uidl:0:a': suspect(), 'uidl:0:b': oversize(), 'uidl:0:c': stored(1) }, 0],
    ['known by its bytes alone: nobody can tell', '', { 'digest:0:00': DELETED }, 0],
  ])('%s: %#', (_what, listing, ledger, gone) => {
    expect(findGone(list(listing), new Map(Object.entries(ledger))).size).toBe(gone);
  });
});

test('a message over the limit says so, its size where it is known, and what becomes of it', () => {
  expect(tooLarge({ number: 7, bytes: 5_000, uidl: 'a' }, LIMITS)).toEqual({
    number: 7,
    uidl: 'a',
    code: 'message_too_large',
    detail: 'The message of 5000 bytes is over the limit of 1000 bytes (limits.messageBytes). It stays on the server.',
  });
  // Found out while it came: what the server had stated was wrong or nothing.
  for (const bytes of [null, 900]) {
    expect(tooLarge({ number: 7, bytes, uidl: null }, LIMITS).detail).toMatch(/^The message is over the limit of 1000/);
  }
});
