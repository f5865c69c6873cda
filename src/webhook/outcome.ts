/** What an answer means for a delivery, and when the next attempt is due. Pure. */
import { jitterRatio, retryAfterMsMax } from './limits.ts';

export type Outcome =
  | { kind: 'delivered' }
  /** Never to be called again. */
  | { kind: 'gone' }
  /** `floorMs`: no attempt before so long. `slows`: the endpoint has too much to do. */
  | { kind: 'failed'; floorMs: number; slows: boolean };

/** How an attempt counts. `exhausted`: it was the last. `dropped`: there was nothing left to send. */
export type DeliveryOutcome = 'delivered' | 'retried' | 'exhausted' | 'gone' | 'dropped';

/** @param outcome null where nothing was sent. @param state of the delivery by now. */
export function countedAs(outcome: Outcome | null, state: string): DeliveryOutcome {
  if (outcome === null) return 'dropped';
  if (outcome.kind !== 'failed') return outcome.kind;
  return state === 'failed' ? 'exhausted' : 'retried';
}

/** The statuses that honour `Retry-After`, and those that say that the endpoint has too much to do. */
const WAITS = new Set([429, 503]);
const SLOWS = new Set([429, 502, 503, 504]);

/** @param status null where no answer came. A redirect is a failure: it is never followed. */
export function judge(
  { status, retryAfter }: { status: number | null; retryAfter: string | null },
  nowMs: number,
): Outcome {
  if (status !== null && status >= 200 && status < 300) return { kind: 'delivered' };
  if (status === 410) return { kind: 'gone' };
  const floorMs = status !== null && WAITS.has(status) ? readRetryAfter(retryAfter, nowMs) : 0;
  return { kind: 'failed', floorMs, slows: status !== null && SLOWS.has(status) };
}

/**
 * The pause before the next attempt; null where there is none.
 * @param delaysMs the pauses after the first attempt, the second, and so on. @param attempts that were made. @param random 0 to 1.
 */
export function nextDelayMs(
  delaysMs: readonly number[],
  attempts: number,
  random: number,
  floorMs: number,
): number | null {
  const delayMs = delaysMs[attempts - 1];
  if (delayMs === undefined) return null;
  return Math.max(floorMs, Math.round(delayMs * (1 + jitterRatio * (2 * random - 1))));
}

/** RFC 9110 §10.2.3: seconds, or a date. Milliseconds from now; 0 where it says nothing that can be read. */
export function readRetryAfter(written: string | null, nowMs: number): number {
  const text = written?.trim() ?? '';
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : readDate(text) - nowMs;
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(0, ms), retryAfterMsMax);
}

/** Date.parse reads almost anything as some date: an HTTP date has letters at both ends, or is of ANSI C's asctime. */
function readDate(text: string): number {
  return /^[A-Z][a-z]{2,8},? .*(GMT|\d{4})$/.test(text)
    ? Date.parse(text.endsWith('GMT') ? text : `${text} GMT`)
    : Number.NaN;
}
