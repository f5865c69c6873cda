import { describe, expect, test } from 'vitest';
import {
  admit,
  dueNotice,
  emptyHealth,
  noteFault,
  noteResult,
  paceMs,
  type Health,
  type Result,
} from '../../src/webhook/health.ts';
import {
  breakerOpenMs,
  breakerOpenMsMax,
  disabledAfterMs,
  faultDelayMs,
  faultPauseMsMax,
  faultsMin,
  slowAnswerMs,
  slowedPauseMs,
} from '../../src/webhook/limits.ts';

const OK: Result = { isSuccess: true, slows: false, floorMs: 0, tookMs: 10 };
const FAILED: Result = { ...OK, isSuccess: false };
const SLOWS: Result = { ...FAILED, slows: true };

/** `1` for a success, `0` for a failure, one after the other at the time 0. */
const after = (results: string, from: Health = emptyHealth, nowMs = 0): Health =>
  results.split('').reduce((health, result) => noteResult(health, result === '1' ? OK : FAILED, 5, nowMs), from);

describe('the breaker', () => {
  test.each([
    ['000000000', false],
    ['0000000000', true],
    ['1110000000', true],
    ['1111000000', false],
    ['11110000000000', true],
    ['1111111111111100000000000000', true],
    ['11111111111111110000', false],
  ])('after %s is open: %s', (results, isOpen) => {
    expect(after(results).openUntilMs !== null).toBe(isOpen);
  });

  test('lets nothing through while it is open, then one probe; a failed one keeps it open for twice as long, a good one closes it', () => {
    let health = after('0000000000');
    let nowMs = 0;
    for (const openMs of [1, 2, 4, 8, 16].map((times) => times * breakerOpenMs)) {
      expect(admit(health, 5, nowMs + openMs - 1)).toEqual({ atOnce: 0, untilMs: nowMs + openMs });
      nowMs += openMs;
      expect(admit(health, 5, nowMs).atOnce).toBe(1);
      health = noteResult(health, FAILED, 5, nowMs);
    }
    for (let more = 0; more < 10; more += 1) {
      nowMs = health.openUntilMs!;
      health = noteResult(health, FAILED, 5, nowMs);
      expect(health.openUntilMs! - nowMs).toBeLessThanOrEqual(breakerOpenMsMax);
    }
    health = noteResult(health, OK, 5, health.openUntilMs!);
    expect(health).toMatchObject({ openUntilMs: null, openings: 0, failingSinceMs: null });
    expect(admit(health, 5, nowMs).atOnce).toBe(5);
    // What it was before says nothing of how it is now.
    expect(after('000', health).openUntilMs).toBeNull();
  });

  test('requests that were under way together when it opened open it once', () => {
    const opened = after('0000000000');
    expect(after('0000', opened, 10)).toMatchObject({ openings: 1, openUntilMs: opened.openUntilMs });
  });
});

describe('an endpoint that has too much to do', () => {
  test('gets half as much at once each time, one at least, and one more after each success', () => {
    const windows: (number | null)[] = [];
    let health: Health = emptyHealth;
    for (const result of [SLOWS, SLOWS, SLOWS, OK, OK, OK, OK]) {
      health = noteResult(health, result, 5, 0);
      windows.push(health.window);
    }
    expect(windows).toEqual([2, 1, 1, 2, 3, 4, null]);
  });

  test('is left alone for a moment, or for as long as it asks for', () => {
    expect(admit(noteResult(emptyHealth, SLOWS, 5, 0), 5, 0)).toEqual({ atOnce: 0, untilMs: slowedPauseMs });
    const asked = noteResult(emptyHealth, { ...SLOWS, floorMs: 60_000 }, 5, 0);
    expect(admit(asked, 5, 59_999).atOnce).toBe(0);
    expect(admit(asked, 5, 60_000).atOnce).toBe(2);
  });

  test('any other failure leaves it as it is', () => {
    expect(admit(after('000'), 5, 0)).toEqual({ atOnce: 5, untilMs: 0 });
  });
});

describe('a clock that is set back by hours', () => {
  const HOURS_MS = 5 * 60 * 60 * 1000;

  test('leaves an open breaker with a probe, which opens it for as long as any other', () => {
    const open = after('0000000000', emptyHealth, HOURS_MS);
    expect(admit(open, 5, 0)).toEqual({ atOnce: 1, untilMs: 0 });
    const still = noteResult(open, FAILED, 5, 0);
    expect(admit(still, 5, 0)).toEqual({ atOnce: 0, untilMs: 2 * breakerOpenMs });
  });

  test('ends what an endpoint has asked for, and what it asks for then holds', () => {
    const paused = noteResult(emptyHealth, { ...SLOWS, floorMs: 60_000 }, 5, HOURS_MS);
    expect(admit(paused, 5, 0).atOnce).toBe(2);
    expect(admit(noteResult(paused, SLOWS, 5, 0), 5, 0)).toEqual({ atOnce: 0, untilMs: slowedPauseMs });
  });

  test('holds up no rate', () => {
    expect(paceMs({ ...emptyHealth, sentMs: HOURS_MS }, 1, 0)).toBe(0);
  });
});

test('an endpoint that failed last, or was slow, is a slow one until it has been quick', () => {
  expect(after('0').isSlow).toBe(true);
  expect(after('01').isSlow).toBe(false);
  expect(noteResult(emptyHealth, { ...OK, tookMs: slowAnswerMs + 1 }, 5, 0).isSlow).toBe(true);
});

test('notices are due at 50, 70, 90 and 100 percent of the time, each once', () => {
  const health = { ...after('00', emptyHealth, 1_000) };
  const at = (share: number) => dueNotice(health, 1_000 + share * disabledAfterMs);
  expect(at(0.499)).toBeNull();
  for (const percent of [50, 70, 90, 100] as const) {
    expect(at(percent / 100)).toBe(percent);
    health.noticed = percent;
    expect(at(percent / 100 + 0.05)).toBeNull();
  }
  expect(dueNotice(after('1', health), Number.MAX_SAFE_INTEGER)).toBeNull();
  // Nothing was sent for so long that the first notices are past.
  expect(dueNotice({ ...health, noticed: 0 }, 1_000 + disabledAfterMs)).toBe(100);
});

test.each([
  [null, 0, 0],
  [10, 0, 100],
  [10, 99, 1],
  [10, 100, 0],
  [0.5, 500, 1_500],
])('at a rate of %s, %i ms after the last request, the next one waits %i ms', (rate, sinceMs, ms) => {
  expect(paceMs({ ...emptyHealth, sentMs: 5_000 }, rate, 5_000 + sinceMs)).toBe(ms);
});

test('faults of ours pause it from some in a row on, longer each time up to a bound, and an attempt that gets through ends that', () => {
  let health: Health = emptyHealth;
  let nowMs = disabledAfterMs;
  const pausesMs: number[] = [];
  for (let fault = 0; fault < faultsMin + 100; fault += 1) {
    health = noteFault(health, nowMs);
    // Another one that was under way with it.
    if (health.pausedUntilMs > nowMs) expect(noteFault(health, nowMs)).toBe(health);
    const pauseMs = Math.max(0, health.pausedUntilMs - nowMs);
    pausesMs.push(pauseMs);
    nowMs += pauseMs;
  }
  const paused = pausesMs.slice(faultsMin - 1);
  expect(pausesMs.slice(0, faultsMin - 1)).toEqual(Array.from({ length: faultsMin - 1 }, () => 0));
  expect(paused.slice(0, 2)).toEqual([faultDelayMs, 2 * faultDelayMs]);
  expect(Math.max(...paused)).toBe(faultPauseMsMax);
  expect(admit(health, 5, nowMs).atOnce).toBe(5);
  for (const result of [OK, FAILED]) expect(noteResult(health, result, 5, nowMs).faults).toBe(0);
});
