/**
 * How an endpoint fares, and what that lets be sent to it: a breaker, how many requests at once, and since when it fails. Pure.
 *
 * The breaker opens when most of the last results are failures. Then nothing is sent but, from time to time, a probe: one delivery that
 * is due. All others wait, and spend no attempt. Where a clock is set back, a time that is further ahead than it can be is over.
 */
import {
  breakerOpenMs,
  breakerOpenMsMax,
  breakerResults,
  breakerResultsMin,
  breakerShare,
  disabledAfterMs,
  faultDelayMs,
  faultPauseMsMax,
  faultsMin,
  slowAnswerMs,
  slowedPauseMs,
  slowedPauseMsMax,
} from './limits.ts';

/** Times are epoch milliseconds. */
export interface Health {
  /** The last ones, `1` for a success, the newest last. */
  results: string;
  /** Null while the breaker is closed; in the past: a probe may go. */
  openUntilMs: number | null;
  /** How often it has opened, or stayed open after a probe, since the last success. */
  openings: number;
  /** It has asked for less. */
  pausedUntilMs: number;
  /** Requests at once that it bears; null for as many as its owner allows. */
  window: number | null;
  /** The last attempt failed, or took long: it is not to take room from those that are quick. */
  isSlow: boolean;
  /** The first failure since the last success. */
  failingSinceMs: number | null;
  /** The last share of the time that it may fail for that was told of, in percent. */
  noticed: number;
  /** It has been enabled again, and has not acknowledged anything since. */
  isProving: boolean;
  /** Since when that is: of the webhook, when it was last enabled again. Absent: never. */
  enabledAt?: string;
  /** That it has recovered, until that is told of. */
  recovery: Recovery | null;
  /** Of ours, in a row: nothing is known of how it fares. */
  faults: number;
  /** When the last request was begun. */
  sentMs: number;
}

export interface Recovery {
  atMs: number;
  failingSinceMs: number | null;
}

export const emptyHealth: Health = {
  results: '',
  openUntilMs: null,
  openings: 0,
  pausedUntilMs: 0,
  window: null,
  isSlow: false,
  failingSinceMs: null,
  noticed: 0,
  isProving: false,
  recovery: null,
  faults: 0,
  sentMs: 0,
};

export interface Result {
  isSuccess: boolean;
  /** It says that it has too much to do. */
  slows: boolean;
  /** No attempt before so long, as it asks for. */
  floorMs: number;
  tookMs: number;
}

/** How it fared before it was enabled again says nothing of how it is now. */
export function sinceEnabled(health: Health, enabledAt: string | undefined): Health {
  if (enabledAt === undefined || enabledAt === health.enabledAt) return health;
  return { ...emptyHealth, isProving: true, enabledAt, sentMs: health.sentMs };
}

/** @param concurrency as many requests at once as its owner allows. */
export function noteResult(health: Health, result: Result, concurrency: number, nowMs: number): Health {
  const pausedUntilMs = isAhead(health.pausedUntilMs, slowedPauseMsMax, nowMs) ? health.pausedUntilMs : 0;
  const isProbe = health.openUntilMs !== null;
  const results = `${health.results}${result.isSuccess ? 1 : 0}`.slice(-breakerResults);
  if (result.isSuccess) {
    const window = health.window === null || health.window + 1 >= concurrency ? null : health.window + 1;
    return {
      ...emptyHealth,
      ...(health.enabledAt !== undefined && { enabledAt: health.enabledAt }),
      // What it was before it recovered says nothing of how it is now.
      results: isProbe ? '1' : results,
      pausedUntilMs,
      sentMs: health.sentMs,
      window,
      recovery: health.recovery ?? recoveryOf(health, nowMs),
      isSlow: result.tookMs > slowAnswerMs,
    };
  }
  const failures = results.replaceAll('1', '').length;
  const opens = isProbe || (results.length >= breakerResultsMin && failures / results.length >= breakerShare);
  // Of requests that were under way together, the first that fails counts as the probe.
  const isOpen = isProbe && isAhead(health.openUntilMs, breakerOpenMsMax, nowMs);
  const openings = health.openings + (opens && !isOpen ? 1 : 0);
  const pauseMs = result.slows ? Math.min(Math.max(result.floorMs, slowedPauseMs), slowedPauseMsMax) : 0;
  return {
    ...health,
    results,
    faults: 0,
    openings,
    openUntilMs: isOpen ? health.openUntilMs : opens ? nowMs + openMs(openings) : null,
    pausedUntilMs: Math.max(pausedUntilMs, nowMs + pauseMs),
    window: result.slows ? Math.max(1, Math.floor((health.window ?? concurrency) / 2)) : health.window,
    isSlow: true,
    failingSinceMs: health.failingSinceMs ?? nowMs,
  };
}

/** A fault of ours. Of those that were under way together, the first counts: then it is as it was. */
export function noteFault(health: Health, nowMs: number): Health {
  if (isAhead(health.pausedUntilMs, slowedPauseMsMax, nowMs)) return health;
  const faults = health.faults + 1;
  if (faults < faultsMin) return { ...health, faults };
  return {
    ...health,
    faults,
    pausedUntilMs: nowMs + Math.min(faultDelayMs * 2 ** (faults - faultsMin), faultPauseMsMax),
  };
}

/** Null where nobody was told that it fails. */
function recoveryOf({ noticed, isProving, failingSinceMs }: Health, atMs: number): Recovery | null {
  return noticed === 0 && !isProving ? null : { atMs, failingSinceMs };
}

/** How many requests may be under way now, and where that is none, until when. */
export function admit(health: Health, concurrency: number, nowMs: number): { atOnce: number; untilMs: number } {
  const { openUntilMs, pausedUntilMs } = health;
  const untilMs = Math.max(
    isAhead(openUntilMs, breakerOpenMsMax, nowMs) ? openUntilMs : 0,
    isAhead(pausedUntilMs, slowedPauseMsMax, nowMs) ? pausedUntilMs : 0,
  );
  if (untilMs > nowMs) return { atOnce: 0, untilMs };
  return { atOnce: health.openUntilMs === null ? Math.min(health.window ?? concurrency, concurrency) : 1, untilMs: 0 };
}

/** How long to wait before the next request, evenly spread; 0: it may go now. @param perSecond null for no limit. */
export function paceMs({ sentMs }: Health, perSecond: number | null, nowMs: number): number {
  if (perSecond === null || sentMs > nowMs) return 0;
  return Math.max(0, Math.ceil(sentMs + 1000 / perSecond - nowMs));
}

/** The share of the time that it may fail for which is over and was not told of yet, in percent; null where there is none. */
export function dueNotice({ failingSinceMs, noticed }: Health, nowMs: number): 50 | 70 | 90 | 100 | null {
  if (failingSinceMs === null) return null;
  const percent = ((nowMs - failingSinceMs) / disabledAfterMs) * 100;
  const notice = ([100, 90, 70, 50] as const).find((step) => percent >= step) ?? 0;
  return notice > noticed ? (notice as 50 | 70 | 90 | 100) : null;
}

function isAhead(untilMs: number | null, msMax: number, nowMs: number): untilMs is number {
  return untilMs !== null && untilMs > nowMs && untilMs - nowMs <= msMax;
}

function openMs(openings: number): number {
  return Math.min(breakerOpenMs * 2 ** Math.min(openings - 1, 20), breakerOpenMsMax);
}
