/**
 * When a mailbox is due: `every` so often, or at the times of a cron expression. Pure.
 *
 * Each mailbox has a fixed place in the period by its id: a million mailboxes of one import are spread evenly, and stay so, as
 * their times are counted from the epoch and not from the last fetch, which would let late ones drift together. An adaptive
 * schedule doubles the period after some fetches without new mail, and goes back at once with the first that finds some: mail
 * comes in bursts, an answer is soon wanted, and one busy mailbox costs little.
 */
import { Cron } from 'croner';
import { AppError, toError } from '../errors.ts';
import {
  cronCharsMax,
  cronReasonCharsMax,
  cronSpreadMsMax,
  everyMsMax,
  everyMsMin,
  firstDueMsMax,
  loginGapMsMax,
  loginLateMsMax,
  quietFetchesPerStep,
  timeZoneCharsMax,
} from './limits.ts';
import type { ScheduleSettings } from '../mailbox/policies.ts';
import { phaseOf } from './shard.ts';

export type Schedule = { everyMs: number; adaptiveMsMax: number } | { cron: Cron };

export interface DueFacts {
  /** Fetches in a row, up to the last one, that found no new mail. */
  quietFetches: number;
  /** When a session last logged in, in epoch milliseconds; null where none has. */
  lastLoginMs: number | null;
  /** Milliseconds between two logins that the server (LOGIN-DELAY, RFC 2449 §6.5) or its provider wants at least. */
  loginGapsMs: readonly number[];
  /** How long the server keeps mail, in days (EXPIRE, RFC 2449 §6.7); infinite where it does not delete any by itself. */
  expireDays: number;
}

const DAY_MS = 86_400_000;
const UNITS_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS };
const DURATION = /^(\d{1,7})([smhd])$/;
/** Without `?`, which croner reads as the time of now. */
const FIVE_FIELDS = /^[\w*,/#+-]+(?: +[\w*,/#+-]+){4}$/;
/** A time zone changes its clocks on at most a few days a year: any day will do to see whether a time ever comes. */
const SOME_DAY = new Date('2026-01-01T00:00:00Z');

/** @throws AppError `invalid_request` with the place under `errors`; `pointer` is where the request has the schedule. */
export function parseSchedule(settings: ScheduleSettings, pointer = '/schedule'): Schedule {
  if ('cron' in settings) return { cron: parseCron(settings.cron, settings.timeZone ?? 'UTC', pointer) };
  const everyMs = parseDuration(settings.every, `${pointer}/every`);
  if (!settings.adaptive) return { everyMs, adaptiveMsMax: everyMs };
  const place = `${pointer}/adaptive/everyMax`;
  const adaptiveMsMax = parseDuration(settings.adaptive.everyMax, place);
  if (adaptiveMsMax < everyMs) throw invalid(place, 'is shorter than `every`');
  return { everyMs, adaptiveMsMax };
}

/** Of a mailbox that is new, or whose schedule is: after `nowMs`, and within an hour where it is not for cron to say. */
export function firstDue(schedule: Schedule, mailboxId: string, nowMs: number): number {
  const phase = phaseOf(mailboxId);
  if ('cron' in schedule) return nextByCron(schedule.cron, phase, nowMs);
  return nextInPeriod(Math.min(schedule.everyMs, firstDueMsMax), phase, nowMs);
}

/** After a fetch: later than `nowMs`, and no earlier than the server wants another login. Epoch milliseconds. */
export function nextDue(schedule: Schedule, mailboxId: string, nowMs: number, facts: DueFacts): number {
  const phase = phaseOf(mailboxId);
  const gapMs = Math.min(Math.max(0, ...facts.loginGapsMs), loginGapMsMax);
  const lastLoginMs = Math.min(facts.lastLoginMs ?? -Infinity, nowMs); // Another machine's clock may be ahead.
  // Twice before mail is deleted that came right after a login. With EXPIRE 0 only what was retrieved is, and nothing is urgent.
  const lifeMs = facts.expireDays > 0 ? (facts.expireDays * DAY_MS) / 2 : Infinity;
  if ('cron' in schedule) {
    const dueMs = Math.min(nextByCron(schedule.cron, phase, nowMs), nowMs + lifeMs);
    return Math.max(dueMs, Math.ceil(lastLoginMs + gapMs));
  }

  const steps = Math.floor(facts.quietFetches / quietFetchesPerStep);
  const wantedMs = Math.min(schedule.everyMs * 2 ** steps, schedule.adaptiveMsMax, lifeMs);
  // A period of just the gap would leave every other fetch out, as a login always comes a little late.
  const periodMs = gapMs > 0 ? Math.max(wantedMs, gapMs + loginLateMsMax) : wantedMs;
  // Half a period at least, so that a fetch that came late, or on demand, is not followed by another at once.
  const earliestMs = lastLoginMs + Math.max(gapMs, periodMs / 2);
  return nextInPeriod(periodMs, phase, Math.max(nowMs, Math.ceil(earliestMs) - 1));
}

/** The first time after `afterMs` that is `phase` of a period past a whole number of periods. */
function nextInPeriod(periodMs: number, phase: number, afterMs: number): number {
  const offsetMs = Math.floor(phase * periodMs);
  return (Math.floor((afterMs - offsetMs) / periodMs) + 1) * periodMs + offsetMs;
}

/** Each time of the expression is spread over some minutes, but not into the next one. */
function nextByCron(cron: Cron, phase: number, nowMs: number): number {
  let time = cron.nextRun(new Date(nowMs - cronSpreadMsMax));
  while (time) {
    const following = cron.nextRun(time);
    const spreadMs = Math.min(cronSpreadMsMax, (following?.getTime() ?? Infinity) - time.getTime());
    const dueMs = time.getTime() + Math.floor(phase * spreadMs);
    if (dueMs > nowMs) return dueMs;
    time = following;
  }
  throw invalid('/schedule/cron', 'names a time that does not come again');
}

function parseDuration(text: string, place: string): number {
  const [, digits = '', unit = ''] = DURATION.exec(text) ?? [];
  const ms = Number(digits) * (UNITS_MS[unit] ?? Number.NaN);
  if (Number.isNaN(ms)) throw invalid(place, 'is no number with s, m, h or d behind it, such as `5m`');
  if (ms < everyMsMin || ms > everyMsMax) {
    const [least, most] = [everyMsMin / 1000, everyMsMax / (UNITS_MS['d'] ?? 1)];
    throw invalid(place, `is not between ${least} seconds and ${most} days`);
  }
  return ms;
}

function parseCron(text: string, timeZone: string, pointer: string): Cron {
  if (timeZone.length > timeZoneCharsMax || !isTimeZone(timeZone)) {
    throw invalid(`${pointer}/timeZone`, 'is no time zone such as `Europe/Berlin`');
  }
  const place = `${pointer}/cron`;
  const expression = text.trim();
  if (expression.length > cronCharsMax || !FIVE_FIELDS.test(expression)) {
    throw invalid(place, 'is no cron expression of five fields, such as `0 8 * * 1-5`');
  }
  let cron: Cron;
  let time: Date | null;
  try {
    // A time in the hour that a zone leaves out comes at its end, and one in the hour that comes twice, once (as in cron(8)).
    cron = new Cron(expression, { timezone: timeZone, mode: '5-part', fixedTimeRule: 'no-wildcard', paused: true });
    time = cron.nextRun(SOME_DAY);
  } catch (cause) {
    const reason = toError(cause)
      .message.replace(/^CronPattern: /, '')
      .slice(0, cronReasonCharsMax);
    throw invalid(place, `is no cron expression: ${reason}`, cause);
  }
  if (!time) throw invalid(place, 'names a date that never comes');
  return cron;
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

function invalid(pointer: string, detail: string, cause?: unknown): AppError {
  return new AppError('invalid_request', `The request is not valid: body${pointer} ${detail}.`, {
    cause,
    fields: { errors: [{ in: 'body', pointer, detail }] },
  });
}
