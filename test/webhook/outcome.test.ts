import { describe, expect, test } from 'vitest';
import { readConfig } from '../../src/config/config.ts';
import { judge, nextDelayMs, readRetryAfter } from '../../src/webhook/outcome.ts';

const NOW_MS = Date.parse('2026-11-23T12:00:00.000Z');
const DAY_MS = 24 * 60 * 60 * 1000;

describe('what an answer means', () => {
  test.each([200, 201, 202, 204, 299])('%i: delivered', (status) => {
    expect(judge({ status, retryAfter: '60' }, NOW_MS)).toEqual({ kind: 'delivered' });
  });

  test('410: gone', () => {
    expect(judge({ status: 410, retryAfter: null }, NOW_MS)).toEqual({ kind: 'gone' });
  });

  test.each<[number | null, string | null, number, boolean]>([
    [null, null, 0, false],
    [100, null, 0, false],
    [199, null, 0, false],
    [300, null, 0, false],
    [302, '60', 0, false],
    [308, null, 0, false],
    [400, '60', 0, false],
    [401, null, 0, false],
    [404, null, 0, false],
    [408, null, 0, false],
    [409, null, 0, false],
    [429, null, 0, true],
    [429, '60', 60_000, true],
    [500, '60', 0, false],
    [502, '60', 0, true],
    [503, null, 0, true],
    [503, '120', 120_000, true],
    [504, '60', 0, true],
    [599, null, 0, false],
  ])('%s with Retry-After %s: failed, not before %i ms, slows: %s', (status, retryAfter, floorMs, slows) => {
    expect(judge({ status, retryAfter }, NOW_MS)).toEqual({ kind: 'failed', floorMs, slows });
  });
});

test.each<[string | null, number]>([
  ['0', 0],
  ['7', 7_000],
  [' 7 ', 7_000],
  ['86400', DAY_MS],
  ['86401', DAY_MS],
  ['99999999999999999999999', DAY_MS],
  ['Mon, 23 Nov 2026 12:01:00 GMT', 60_000],
  ['Monday, 23-Nov-26 12:01:00 GMT', 60_000],
  ['Mon Nov 23 12:01:00 2026', 60_000],
  ['Mon, 23 Nov 2026 11:00:00 GMT', 0],
  ['Wed, 23 Dec 2026 12:00:00 GMT', DAY_MS],
  [null, 0],
  ['', 0],
  ['-1', 0],
  ['1.5', 0],
  ['1e3', 0],
  ['soon', 0],
  ['2026-11-23T13:00:00Z', 0],
])('Retry-After %j: %i ms', (written, ms) => {
  expect(readRetryAfter(written, NOW_MS)).toBe(ms);
});

describe('the next attempt', () => {
  test('is due by the schedule, a fifth sooner or later at most, and none after the tenth', () => {
    const { webhookRetryDelaysMs } = readConfig({});
    const delays = (random: number) =>
      Array.from({ length: 10 }, (_, made) => nextDelayMs(webhookRetryDelaysMs, made + 1, random, 0));
    const [s, m, h] = [1_000, 60_000, 3_600_000];
    const schedule = [5 * s, 5 * m, 30 * m, 2 * h, 5 * h, 10 * h, 14 * h, 20 * h, 24 * h];
    expect(delays(0.5)).toEqual([...schedule, null]);
    expect(delays(0)).toEqual([...schedule.map((ms) => ms * 0.8), null]);
    expect(delays(1)).toEqual([...schedule.map((ms) => ms * 1.2), null]);
  });

  test('is not before what Retry-After asks for, and later where the schedule is', () => {
    expect(nextDelayMs([5_000], 1, 0.5, 60_000)).toBe(60_000);
    expect(nextDelayMs([300_000], 1, 0.5, 60_000)).toBe(300_000);
    expect(nextDelayMs([5_000], 2, 0.5, 60_000)).toBeNull();
  });
});
