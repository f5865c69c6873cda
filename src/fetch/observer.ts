/** What is counted of fetches, as ports: by closed lists alone, and nothing of anybody's mail. */
import type { FailureCode } from '../errors.ts';
import type { PhaseTimings } from './fetch.ts';

export type AttemptOutcome = 'succeeded' | 'failed' | 'cancelled' | 'retried' | 'interrupted' | 'lost';
export type SessionPhase = 'connect' | 'login' | 'list' | 'retrieve' | 'delete';
/** `duplicate`: stored, and known by its bytes. `omitted`: too large, and stored without them. */
export type MessageOutcome = 'stored' | 'duplicate' | 'omitted' | 'filtered' | 'failed';

export interface FetchObserver {
  /** @param code of what it failed with, also where another attempt follows. */
  observeAttempt(outcome: AttemptOutcome, code: FailureCode | null): void;
  observePhase(phase: SessionPhase, ms: number): void;
  /** @param bytes that were retrieved for it. */
  observeMessage(outcome: MessageOutcome, bytes: number): void;
  observeWarning(code: string): void;
  /** The maildrop was another fetch's. */
  observeContention(): void;
}

export function phaseOf(timing: keyof PhaseTimings): SessionPhase {
  return timing.replace(/Ms$/, '') as SessionPhase;
}
