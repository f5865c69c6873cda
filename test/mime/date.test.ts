import { expect, test } from 'vitest';
import { parseDate } from '../../src/mime/date.ts';

test.for([
  ['Mon, 01 Jan 2024 10:00:00 +0000', '2024-01-01T10:00:00.000Z'],
  ['1 Jan 2024 10:00 +0530', '2024-01-01T04:30:00.000Z'],
  ['Mon, 1 Jan 2024 10:00:00 -0800 (PST)', '2024-01-01T18:00:00.000Z'],
  ['Mon, 1 Jan 2024 10:00:00 GMT', '2024-01-01T10:00:00.000Z'],
  ['Mon, 1 Jan 2024 10:00:00 EST', '2024-01-01T15:00:00.000Z'],
  ['Mon, 1 Jan 2024 10:00:00 CEST', '2024-01-01T10:00:00.000Z'], // unknown names count as UTC, RFC 5322 §4.3
  ['Mon, 1 Jan 2024 10:00:00', '2024-01-01T10:00:00.000Z'],
  ['Mon, 1 Jan 2024 10:00:00 -0000', '2024-01-01T10:00:00.000Z'],
  ['Mon, 1 January 2024 10:00:00 +0000', '2024-01-01T10:00:00.000Z'],
  ['Fri, 31 Dec 99 23:59:60 +0000', '1999-12-31T23:59:59.000Z'],
  ['1 Jan 24 00:00:00 +0000', '2024-01-01T00:00:00.000Z'],
  ['1 Jan 124 00:00:00 +0000', '2024-01-01T00:00:00.000Z'],
  ['Thu, 29 Feb 2024 12:00:00 +0000', '2024-02-29T12:00:00.000Z'],
] as const)('%s is %s, whatever the time zone of the machine', ([field, date]) => {
  expect(parseDate(field)).toBe(date);
});

test.for([
  '',
  'soon',
  'hello 5',
  '2024',
  'Thu, 30 Feb 2024 12:00:00 +0000',
  'Mon, 1 Foo 2024 10:00:00 +0000',
  'Mon, 1 Jan 2024 25:00:00 +0000',
  'Mon, 1 Jan 2024 10:61:00 +0000',
  'Mon, 1 Jan 99999 10:00:00 +0000',
  'Mon, 0 Jan 2024 10:00:00 +0000',
])('%j is no date', (field) => {
  expect(parseDate(field)).toBeNull();
});
