/** How long who was refused waits at the least: the longer, the longer it has waited, so that asks are bounded in number. */
import { busyWaitMsMax, busyWaitMsMin, busyWaitShareOfAge } from './limits.ts';

/** @param ageMs since the fetch, or its job, was created. */
export function busyWaitMs(ageMs: number): number {
  return Math.min(Math.max(ageMs * busyWaitShareOfAge, busyWaitMsMin), busyWaitMsMax);
}
