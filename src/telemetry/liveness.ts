/**
 * Whether the process would be better off started anew: a part of it that ought to give a sign of life from time to time has given none for
 * long, though Redis answers. While Redis is away nothing can give a sign, and a new process could not either; nor could one that stood
 * still as a whole: the silence counts from when both are over.
 */
import { livenessBeatMs, livenessLateMs } from './limits.ts';

export interface LivenessPorts {
  clock: { now(): number };
  /** Whether Redis answers, on a connection that is not of the parts that are watched. Never throws. */
  storageAnswers(): Promise<boolean>;
  /** How long a part may be silent. */
  silenceMsMax: number;
}

export interface Liveness {
  /** @param signMs when the part last gave a sign of life, in epoch milliseconds. */
  watch(part: string, signMs: () => number): void;
  /** Of each part: `ok`, or for how long it has been silent. */
  check(): Record<string, string>;
  /** Nothing is watched any more: what stops may be silent. */
  close(): void;
}

export function createLiveness({ clock, storageAnswers, silenceMsMax }: LivenessPorts): Liveness {
  const parts = new Map<string, () => number>();
  /** Until when nobody could give a sign. */
  let excusedMs = clock.now();
  let lookedMs = clock.now();

  function excuseStandstill(): void {
    if (clock.now() - lookedMs > livenessLateMs) excusedMs = clock.now();
  }
  /** By itself, and not when it is asked: whoever asks does not wait as long as a Redis that hangs may take. */
  async function look(): Promise<void> {
    const answers = await storageAnswers();
    excuseStandstill();
    lookedMs = clock.now();
    if (!answers) excusedMs = lookedMs;
  }
  let isLooking = false;
  const timer = setInterval(() => {
    if (isLooking) return;
    isLooking = true;
    void look().finally(() => {
      isLooking = false;
    });
  }, livenessBeatMs);
  timer.unref();

  return {
    watch(part, signMs) {
      parts.set(part, signMs);
    },
    check() {
      excuseStandstill();
      const nowMs = clock.now();
      const judge = (signMs: number): string => {
        const silentMs = nowMs - Math.max(signMs, excusedMs);
        return silentMs <= silenceMsMax ? 'ok' : `no sign of life for ${Math.floor(silentMs / 1000)} s`;
      };
      return Object.fromEntries([...parts].map(([part, signMs]) => [part, judge(signMs())]));
    },
    close() {
      clearInterval(timer);
      parts.clear();
    },
  };
}
