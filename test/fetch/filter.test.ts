import { describe, expect, test } from 'vitest';
import { filterMark, isWantedByHeaders, isWantedBySize, refusal } from '../../src/fetch/filter.ts';
import type { HeaderCondition } from '../../src/mailbox/policies.ts';

const FIELDS = [
  { name: 'From', value: 'Billing <billing@shop.example>' },
  { name: 'SUBJECT', value: 'Ihre RECHNUNG für März' },
  { name: 'Received', value: 'from a.example' },
  { name: 'Received', value: 'from b.example' },
];
const wants = (...headers: HeaderCondition[]): boolean => isWantedByHeaders({ headers }, FIELDS);

describe('a condition on header fields', () => {
  test('holds where a field of that name has one of the texts in it, letter case aside', () => {
    expect(wants({ name: 'subject', contains: ['invoice', 'rechnung'] })).toBe(true);
    expect(wants({ name: 'subject', contains: ['order'] })).toBe(false);
    expect(wants({ name: 'Received', contains: ['B.EXAMPLE'] })).toBe(true);
  });

  test('does not hold where the field is missing, unless it only excludes', () => {
    expect(wants({ name: 'List-Id', contains: ['x'] })).toBe(false);
    expect(wants({ name: 'List-Id', excludes: ['x'] })).toBe(true);
  });

  test('does not hold where any field of that name has one of the excluded texts', () => {
    expect(wants({ name: 'Received', contains: ['a.example'], excludes: ['b.example'] })).toBe(false);
  });

  test('takes composed and decomposed letters as the same', () => {
    expect(wants({ name: 'Subject', contains: ['Ma\u0308rz'] })).toBe(true);
  });

  test('must hold along with all others', () => {
    expect(wants({ name: 'From', contains: ['shop'] }, { name: 'Subject', contains: ['order'] })).toBe(false);
    expect(wants({ name: 'From', contains: ['shop'] }, { name: 'Subject', contains: ['März'] })).toBe(true);
  });
});

describe('a bound on the size', () => {
  test('is met by what is as large, and by what the server gives no size of', () => {
    expect([9, 10, 11, null].map((bytes) => isWantedBySize({ bytesMax: 10 }, bytes))).toEqual([
      true,
      true,
      false,
      true,
    ]);
  });

  test('is looked at when the message is here only where the server had given no size, as it may count line ends otherwise', () => {
    const filter = { bytesMax: 10 };
    expect(refusal(filter, { bytes: null }, { bytes: 11, headers: [] })).toBe('filter_size');
    expect(refusal(filter, { bytes: 10 }, { bytes: 11, headers: [] })).toBeNull();
  });
});

test('filters that say different things have different marks, and none has that of no filter', () => {
  const marks = [{}, { bytesMax: 1 }, { bytesMax: 2 }, { headers: [{ name: 'a' }] }].map(filterMark);
  expect(new Set(marks).size).toBe(4);
  expect(marks).not.toContain(0);
});
