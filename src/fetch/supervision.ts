/** Watches over a running session: renews what it holds, notices a cancelled fetch, and bounds the whole. */
import { AppError, toError } from '../errors.ts';
import { Pop3ConnectionError } from '../pop3/index.ts';
import { heartbeatMs, leaseTtlMs, sessionGraceMs } from './limits.ts';

/** What a session may run on only while it is renewed: every `heartbeatMs`, and lost after `leaseTtlMs`. */
export interface Hold {
  /** False when it is lost. */
  renew(): Promise<boolean>;
  whenLost: string;
}

export interface SupervisionOptions {
  holds: readonly Hold[];
  /** Seconds that the session may last. */
  sessionSeconds: number;
  isCancelRequested(): Promise<boolean>;
  /** Ends the session when the process stops. */
  shutdown: AbortSignal;
  clock: { now(): number };
}

export interface Supervision {
  signal: AbortSignal;
  stop(): Promise<void>;
}

export function superviseSession(options: SupervisionOptions): Supervision {
  const { holds, sessionSeconds, isCancelRequested, shutdown, clock } = options;
  const controller = new AbortController();
  let renewedMs = clock.now();

  const beat = async (): Promise<void> => {
    try {
      const renewed = await Promise.all(holds.map((hold) => hold.renew()));
      const lost = holds[renewed.indexOf(false)];
      if (lost) {
        controller.abort(new AppError('lease_lost', lost.whenLost));
        return;
      }
      renewedMs = clock.now();
      if (await isCancelRequested()) {
        controller.abort(new AppError('cancelled', 'The fetch was cancelled. What it had stored is kept.'));
      }
    } catch (error) {
      // Without Redis the lease cannot be renewed: it may be another's soon, so the session must end before.
      if (clock.now() - renewedMs < leaseTtlMs / 2) return;
      const text = `Redis is away, and with it the maildrop's lease: ${toError(error).message}`;
      controller.abort(new AppError('lease_lost', text, { cause: error }));
    }
  };

  let beating: Promise<void> | null = null;
  const heartbeat = setInterval(() => {
    beating ??= beat().finally(() => {
      beating = null; // A Redis that does not answer must not find a queue of them when it does.
    });
  }, heartbeatMs);
  const bound = setTimeout(
    () => {
      const text = `The session lasted longer than ${sessionSeconds} s (limits.seconds).`;
      controller.abort(new Pop3ConnectionError('upstream_timeout', 'retrieve', text));
    },
    sessionSeconds * 1000 + sessionGraceMs,
  );

  return {
    signal: AbortSignal.any([controller.signal, shutdown]),
    async stop() {
      clearInterval(heartbeat);
      clearTimeout(bound);
      await beating;
    },
  };
}
