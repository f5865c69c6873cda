/** How far a session is: what it has found out is noted, and written together, not oftener than somebody who watches would see. */
import type { Fetch, FetchProgress, FetchRef, PhaseTimings } from './fetch.ts';
import { untraced, type Trace } from '../trace.ts';
import { progressEveryMs } from './limits.ts';
import { phaseOf, type FetchObserver } from './observer.ts';

export interface ProgressPorts {
  clock: { now(): number };
  records: { writeProgress(ref: FetchRef, token: number, progress: Partial<FetchProgress>): Promise<void> };
  observer?: Pick<FetchObserver, 'observePhase'>;
  trace?: Trace;
}

export class Progress {
  readonly #ports: ProgressPorts;
  readonly #fetch: Fetch;
  readonly #token: number;
  readonly #phases: PhaseTimings = {};
  #noted: Partial<FetchProgress> = {};
  #dueMs = 0;

  /** @param token of the maildrop's lease. */
  constructor(ports: ProgressPorts, fetch: Fetch, token: number) {
    this.#ports = ports;
    this.#fetch = fetch;
    this.#token = token;
  }

  /** Goes with the next that is written. */
  note(progress: Partial<FetchProgress>): void {
    this.#noted = { ...this.#noted, ...progress };
  }

  /** What was noted and not written. */
  get unwritten(): Partial<FetchProgress> {
    return { ...this.#noted, phases: this.#phases };
  }

  /** @throws AppError `lease_lost` when fenced off. */
  async write(progress: Partial<FetchProgress>): Promise<void> {
    const all = { ...this.unwritten, ...progress };
    this.#noted = {};
    this.#dueMs = this.#ports.clock.now() + progressEveryMs;
    await this.#ports.records.writeProgress(this.#fetch, this.#token, all);
  }

  /** As `write`, and otherwise as `note` where something was written a moment ago. */
  async writeSometimes(progress: Partial<FetchProgress>): Promise<void> {
    this.note(progress);
    if (this.#ports.clock.now() >= this.#dueMs) await this.write({});
  }

  /** Notes how long a phase takes. */
  async timed<T>(phase: keyof PhaseTimings, work: () => Promise<T>): Promise<T> {
    const fromMs = this.#ports.clock.now();
    try {
      return await (this.#ports.trace ?? untraced).span({ name: `pop3.${phaseOf(phase)}`, kind: 'client' }, work);
    } finally {
      const tookMs = this.#ports.clock.now() - fromMs;
      this.#phases[phase] = tookMs;
      this.#ports.observer?.observePhase(phaseOf(phase), tookMs);
    }
  }
}
