import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../src/errors.ts';
import {
  cronSpreadMsMax,
  everyMsMax,
  everyMsMin,
  firstDueMsMax,
  loginGapMsMax,
  loginLateMsMax,
  quietFetchesPerStep,
} from '../../src/fetch/limits.ts';
import { firstDue, nextDue, parseSchedule, type DueFacts } from '../../src/fetch/schedule.ts';
import type { ScheduleSettings } from '../../src/mailbox/policies.ts';

const S = 1000;
const MIN = 60 * S;
const HOUR = 60 * MIN;
const DAY = 24 * HOUR;
const NOW = Date.parse('2026-03-10T09:30:12.345Z');
const NO_FACTS: DueFacts = { quietFetches: 0, lastLoginMs: null, loginGapsMs: [], expireDays: Infinity };
/** Ids as they are made are spread by themselves: these are not. */
const IDS = Array.from({ length: 10_000 }, (_, number) => `mbx_${String(number).padStart(32, '0')}`);

const first = (settings: ScheduleSettings, id: string, nowMs: number): number =>
  firstDue(parseSchedule(settings), id, nowMs);
const next = (settings: ScheduleSettings, id: string, nowMs: number, facts: Partial<DueFacts> = {}): number =>
  nextDue(parseSchedule(settings), id, nowMs, { ...NO_FACTS, ...facts });

/** An id whose place in any period is near the given one. */
function idAt(place: number): string {
  const found = IDS.find((id) => Math.abs(first({ every: '30s' }, id, 0) / 30_000 - place) < 0.001);
  return found ?? expect.fail(`no id is at ${place} of a period`);
}

/** How many of the times fall into each tenth of the span, as shares of an even tenth. */
function tenths(times: readonly number[], fromMs: number, spanMs: number): number[] {
  const counts: number[] = Array(10).fill(0);
  for (const time of times) counts[Math.floor(((time - fromMs) / spanMs) * 10)]! += 1;
  return counts.map((count) => count / (times.length / 10));
}

function expectEven(times: readonly number[], fromMs: number, spanMs: number): void {
  expect(Math.min(...times)).toBeGreaterThanOrEqual(fromMs);
  expect(Math.max(...times)).toBeLessThanOrEqual(fromMs + spanMs);
  for (const share of tenths(times, fromMs, spanMs + 1)) {
    expect(share).toBeGreaterThan(0.85);
    expect(share).toBeLessThan(1.15);
  }
}

function problemOf(settings: ScheduleSettings): unknown {
  try {
    parseSchedule(settings);
  } catch (error) {
    expect(error).toBeInstanceOf(AppError);
    expect((error as AppError).code).toBe('invalid_request');
    return ((error as AppError).fields['errors'] as unknown[])[0];
  }
  return null;
}

describe('what a schedule may be', () => {
  test.each<ScheduleSettings>([
    { every: '30s' },
    { every: '5m' },
    { every: '30d' },
    { every: '5m', adaptive: null },
    { every: '5m', adaptive: { everyMax: '5m' } },
    { cron: '0 8 * * 1-5', timeZone: 'Europe/Berlin' },
    { cron: ' */5  8-17 1,15 JAN-MAR mon ' },
    { cron: '0 0 29 2 *' },
    { cron: '0 8 L * *' },
    { cron: '0 8 * * FRI#2' },
  ])('%j', (settings) => expect(problemOf(settings)).toBeNull());

  test.each<[settings: ScheduleSettings, pointer: string, detail: RegExp]>([
    [{ every: '29s' }, '/schedule/every', /between 30 seconds and 30 days/],
    [{ every: '31d' }, '/schedule/every', /between/],
    [{ every: '0m' }, '/schedule/every', /between/],
    [{ every: '' }, '/schedule/every', /no number/],
    [{ every: '5' }, '/schedule/every', /no number/],
    [{ every: '1.5h' }, '/schedule/every', /no number/],
    [{ every: '-5m' }, '/schedule/every', /no number/],
    [{ every: '5w' }, '/schedule/every', /no number/],
    [{ every: '1h30m' }, '/schedule/every', /no number/],
    [{ every: `${'9'.repeat(400)}m` }, '/schedule/every', /no number/],
    [{ every: '5m', adaptive: { everyMax: '4m' } }, '/schedule/adaptive/everyMax', /shorter/],
    [{ every: '5m', adaptive: { everyMax: '31d' } }, '/schedule/adaptive/everyMax', /between/],
    [{ cron: '' }, '/schedule/cron', /five fields/],
    [{ cron: '0 8 * *' }, '/schedule/cron', /five fields/],
    [{ cron: '* * * * * *' }, '/schedule/cron', /five fields/],
    [{ cron: '@hourly' }, '/schedule/cron', /five fields/],
    [{ cron: '0 8 ? * 1' }, '/schedule/cron', /five fields/],
    [{ cron: `0 8 * * ${'1,'.repeat(50)}1` }, '/schedule/cron', /five fields/],
    [{ cron: '60 * * * *' }, '/schedule/cron', /no cron expression: /],
    [{ cron: '*/0 * * * *' }, '/schedule/cron', /no cron expression: /],
    [{ cron: '5-1 * * * *' }, '/schedule/cron', /no cron expression: /],
    [{ cron: '0 0 30 2 *' }, '/schedule/cron', /never comes/],
    [{ cron: '0 0 31 2,4,6,9,11 *' }, '/schedule/cron', /never comes/],
    [{ cron: '0 8 * * *', timeZone: 'Mars/Olympus' }, '/schedule/timeZone', /no time zone/],
    [{ cron: '0 8 * * *', timeZone: '' }, '/schedule/timeZone', /no time zone/],
    [{ cron: '0 8 * * *', timeZone: 'x'.repeat(10_000) }, '/schedule/timeZone', /no time zone/],
  ])('not %j', (settings, pointer, detail) => {
    expect(problemOf(settings)).toEqual({ in: 'body', pointer, detail: expect.stringMatching(detail) as string });
  });

  test('the place of a mistake is told as the request has it', () => {
    expect(() => parseSchedule({ every: '1s' }, '/mailboxes/3/schedule')).toThrow(/mailboxes\/3\/schedule\/every /);
  });
});

describe('any schedule', () => {
  const anySettings = fc.oneof(
    fc
      .record({
        every: fc.integer({ min: everyMsMin / S, max: everyMsMax / S }),
        factor: fc.integer({ min: 1, max: 50 }),
      })
      .map(({ every, factor }): ScheduleSettings => ({
        every: `${every}s`,
        adaptive: { everyMax: `${Math.min(every * factor, everyMsMax / S)}s` },
      })),
    fc.constantFrom<ScheduleSettings>(
      { cron: '* * * * *' },
      { cron: '*/7 2 * * *', timeZone: 'Europe/Berlin' },
      { cron: '30 2 * * *', timeZone: 'Europe/Berlin' },
      { cron: '0 0 * * *', timeZone: 'Africa/Cairo' },
      { cron: '0 8 * * 1-5', timeZone: 'America/New_York' },
    ),
  );
  const anyTime = fc.integer({ min: Date.parse('2025-01-01'), max: Date.parse('2035-01-01') });
  const anyId = fc.string({ minLength: 1, maxLength: 40 });
  const anyFacts = fc.record({
    quietFetches: fc.oneof(fc.nat(30), fc.nat()),
    sinceLoginMs: fc.option(fc.integer({ min: -HOUR, max: 40 * DAY })),
    loginGapsMs: fc.array(fc.oneof(fc.integer({ min: 0, max: HOUR }), fc.nat(), fc.constant(Infinity)), {
      maxLength: 3,
    }),
    expireDays: fc.oneof(fc.nat(60), fc.constant(Infinity)),
  });

  test('is due later than now, at the same time however often it is asked, and after the pause that the server wants', () => {
    fc.assert(
      fc.property(anySettings, anyId, anyTime, anyFacts, (settings, id, nowMs, { sinceLoginMs, ...facts }) => {
        const lastLoginMs = sinceLoginMs === null ? null : nowMs - sinceLoginMs;
        const dueMs = next(settings, id, nowMs, { ...facts, lastLoginMs });
        expect(Number.isSafeInteger(dueMs)).toBe(true);
        expect(dueMs).toBeGreaterThan(nowMs);
        expect(next(settings, id, nowMs, { ...facts, lastLoginMs })).toBe(dueMs);
        const gapMs = Math.min(Math.max(0, ...facts.loginGapsMs), loginGapMsMax);
        if (lastLoginMs !== null) expect(dueMs).toBeGreaterThanOrEqual(Math.min(lastLoginMs, nowMs) + gapMs);
        expect(first(settings, id, nowMs)).toBeGreaterThan(nowMs);
      }),
      { numRuns: 1000 },
    );
  });

  test('by `every` is due within a period and a half, or the pause that the server wants, at most a day', () => {
    fc.assert(
      fc.property(anySettings, anyId, anyTime, anyFacts, (settings, id, nowMs, { sinceLoginMs, ...facts }) => {
        fc.pre('every' in settings);
        const lastLoginMs = nowMs - Math.max(0, sinceLoginMs ?? 0);
        const periodMs = Number.parseInt(settings.adaptive?.everyMax ?? '', 10) * S;
        const gapMs = Math.min(Math.max(0, ...facts.loginGapsMs), loginGapMsMax);
        const atMost = nowMs + Math.max(periodMs * 1.5, periodMs + gapMs, 2 * gapMs + loginLateMsMax) + 1;
        expect(next(settings, id, nowMs, { ...facts, lastLoginMs })).toBeLessThanOrEqual(atMost);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('mailboxes of one import', () => {
  test('are spread evenly over the period, the first time and ever after', () => {
    const settings = { every: '5m' };
    const dueMs = IDS.map((id) => first(settings, id, NOW));
    expectEven(dueMs, NOW, 5 * MIN);
    // Fetches end late by up to a minute, as they would behind a queue.
    let latest = dueMs;
    for (let round = 0; round < 5; round += 1) {
      latest = latest.map((due, place) => {
        const lateMs = (place * 7919) % MIN;
        return next(settings, IDS[place]!, due + lateMs + S, { lastLoginMs: due + lateMs });
      });
    }
    expect(latest).toEqual(dueMs.map((due) => due + 25 * MIN));
  });

  test('come within an hour where they are fetched rarely, and are spread over the period from the second fetch on', () => {
    const settings = { every: '1d' };
    const dueMs = IDS.map((id) => first(settings, id, NOW));
    expectEven(dueMs, NOW, firstDueMsMax);
    const second = IDS.map((id, place) => next(settings, id, dueMs[place]!));
    expectEven(
      second.map((due) => due % DAY),
      0,
      DAY,
    );
  });

  test('stay spread where the server wants longer pauses between logins than their schedule has', () => {
    let latest = IDS.map((id) => first({ every: '1m' }, id, NOW));
    for (let round = 0; round < 3; round += 1) {
      latest = latest.map((due, place) =>
        next({ every: '1m' }, IDS[place]!, due + 3 * S, { lastLoginMs: due + S, loginGapsMs: [15 * MIN, MIN] }),
      );
    }
    const periodMs = 15 * MIN + loginLateMsMax;
    expectEven(
      latest.map((due) => due % periodMs),
      0,
      periodMs,
    );
  });

  test('are spread over minutes where all have the same time of day', () => {
    const settings: ScheduleSettings = { cron: '0 8 * * *' };
    const eight = Date.parse('2026-03-11T08:00:00Z');
    expectEven(
      IDS.slice(0, 2000).map((id) => first(settings, id, NOW)),
      eight,
      cronSpreadMsMax,
    );
  });
});

describe('every', () => {
  test('a server that wants just the pause that the schedule has does not halve it', () => {
    const id = idAt(0.5);
    let due = first({ every: '15m' }, id, NOW);
    const from = due;
    for (let fetch = 0; fetch < 20; fetch += 1) {
      const loginMs = due + 2 * S;
      due = next({ every: '15m' }, id, loginMs + 10 * S, { lastLoginMs: loginMs, loginGapsMs: [15 * MIN] });
      expect(due - loginMs).toBeGreaterThanOrEqual(15 * MIN);
    }
    expect(due - from).toBeLessThanOrEqual(21 * (15 * MIN + loginLateMsMax));
  });

  test('a pause that is well below the period changes nothing', () => {
    const due = first({ every: '15m' }, 'mbx_1', NOW);
    const facts = { lastLoginMs: due + S, loginGapsMs: [5 * MIN] };
    expect(next({ every: '15m' }, 'mbx_1', due + 2 * S, facts)).toBe(due + 15 * MIN);
  });

  test('a fetch on demand, or a late one, is not followed by another at once, and the place in the period stays', () => {
    const due = first({ every: '10m' }, 'mbx_1', NOW);
    expect(next({ every: '10m' }, 'mbx_1', due - 3 * MIN, { lastLoginMs: due - 4 * MIN })).toBe(due + 10 * MIN);
    expect(next({ every: '10m' }, 'mbx_1', due - 6 * MIN, { lastLoginMs: due - 7 * MIN })).toBe(due);
  });

  test('a last login by a clock that is ahead puts nothing off', () => {
    const facts = { lastLoginMs: NOW + DAY, loginGapsMs: [MIN] };
    expect(next({ every: '5m' }, 'mbx_1', NOW, facts)).toBeLessThan(NOW + 10 * MIN);
  });

  test('a fetch that takes nearly its period is not thrown back by it', () => {
    const due = first({ every: '30s' }, 'mbx_1', NOW);
    expect(next({ every: '30s' }, 'mbx_1', due + 28 * S, { lastLoginMs: due + S })).toBe(due + 30 * S);
  });

  test('quiet mailboxes slow down step by step to the bound, and the first new mail takes them back at once', () => {
    const settings = { every: '5m', adaptive: { everyMax: '1h' } };
    const periods = Array.from({ length: 8 }, (_, step) => {
      const facts = { quietFetches: step * quietFetchesPerStep };
      const due = next(settings, 'mbx_1', NOW, facts);
      return next(settings, 'mbx_1', due, facts) - due;
    });
    expect(periods).toEqual([5, 10, 20, 40, 60, 60, 60, 60].map((minutes) => minutes * MIN));
    for (const quietFetches of [0, 1, quietFetchesPerStep - 1]) {
      expect(next(settings, 'mbx_1', NOW, { quietFetches })).toBe(next({ every: '5m' }, 'mbx_1', NOW));
    }
  });

  test('without the option, quiet mailboxes keep their period', () => {
    expect(next({ every: '5m' }, 'mbx_1', NOW, { quietFetches: 1000 })).toBe(next({ every: '5m' }, 'mbx_1', NOW));
  });
});

describe('cron', () => {
  const EARLY = idAt(0);
  const LATE = idAt(0.999);
  /** Times of a mailbox that comes first, without the milliseconds of its spread. */
  const timesOf = (cron: string, timeZone: string, from: string, count: number): string[] => {
    let nowMs = Date.parse(from);
    return Array.from({ length: count }, () => {
      nowMs = next({ cron, timeZone }, EARLY, nowMs);
      return new Date(Math.floor(nowMs / MIN) * MIN).toISOString().slice(0, 16);
    });
  };

  test.each<[what: string, cron: string, timeZone: string, from: string, times: string[]]>([
    [
      'working days, over a weekend on which the clocks go forward',
      '0 8 * * 1-5',
      'Europe/Berlin',
      '2026-03-27T12:00Z',
      ['2026-03-30T06:00', '2026-03-31T06:00'],
    ],
    [
      'a time in the hour that is left out comes at its end',
      '30 2 * * *',
      'Europe/Berlin',
      '2026-03-27T12:00Z',
      ['2026-03-28T01:30', '2026-03-29T01:00', '2026-03-30T00:30'],
    ],
    [
      'a time in the hour that comes twice comes once',
      '30 2 * * *',
      'Europe/Berlin',
      '2026-10-24T12:00Z',
      ['2026-10-25T00:30', '2026-10-26T01:30'],
    ],
    [
      'one of several times a day that is left out comes at its end, too',
      '0 2,8 * * *',
      'Europe/Berlin',
      '2026-03-28T12:00Z',
      ['2026-03-29T01:00', '2026-03-29T06:00'],
    ],
    [
      'each hour, of those that come twice too',
      '0 * * * *',
      'Europe/Berlin',
      '2026-10-24T23:30Z',
      ['2026-10-25T00:00', '2026-10-25T01:00', '2026-10-25T02:00'],
    ],
    [
      'midnight of a day that has none is its first moment, and the day is not left out',
      '0 0 * * *',
      'Africa/Cairo',
      '2026-04-22T12:00Z',
      ['2026-04-22T22:00', '2026-04-23T22:00', '2026-04-24T21:00'],
    ],
    ['leap days', '0 0 29 2 *', 'UTC', '2026-03-01T00:00Z', ['2028-02-29T00:00', '2032-02-29T00:00']],
    ['the last of the month', '0 8 L * *', 'UTC', '2026-02-01T00:00Z', ['2026-02-28T08:00', '2026-03-31T08:00']],
    [
      'UTC is not the time zone of the machine',
      '0 8 * * *',
      'Asia/Kolkata',
      '2026-03-01T00:00Z',
      ['2026-03-01T02:30', '2026-03-02T02:30'],
    ],
  ])('%s', (_, cron, timeZone, from, times) => {
    expect(timesOf(cron, timeZone, from, times.length)).toEqual(times);
  });

  test('a mailbox is never early, always by the same time late, and not later than some minutes', () => {
    const settings: ScheduleSettings = { cron: '0 8 * * *' };
    const midnight = Date.parse('2026-03-11T00:00Z');
    for (const id of IDS.slice(0, 200)) {
      const late = next(settings, id, midnight) - (midnight + 8 * HOUR);
      expect(late).toBeGreaterThanOrEqual(0);
      expect(late).toBeLessThan(cronSpreadMsMax);
      expect(next(settings, id, midnight + 8 * HOUR + late)).toBe(midnight + DAY + 8 * HOUR + late);
      if (late > 0) expect(next(settings, id, midnight + 8 * HOUR + late - 1)).toBe(midnight + 8 * HOUR + late);
    }
  });

  test('the spread of one time does not reach into the next', () => {
    const from = Math.floor(NOW / HOUR) * HOUR;
    const due = next({ cron: '*/3 * * * *' }, LATE, from);
    expect(due).toBeGreaterThan(from + 0.99 * 3 * MIN);
    expect(due).toBeLessThan(from + 3 * MIN);
    expect(next({ cron: '*/3 * * * *' }, LATE, due)).toBe(due + 3 * MIN);
  });

  test('a time that comes too soon after the last login is put off, not left out', () => {
    const lastLoginMs = Date.parse('2026-03-11T08:00:05Z');
    const facts = { lastLoginMs, loginGapsMs: [15 * MIN] };
    expect(next({ cron: '*/15 * * * *' }, EARLY, lastLoginMs + S, facts)).toBe(lastLoginMs + 15 * MIN);
  });
});
