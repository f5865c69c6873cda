/** Watches over a running session: renews the lease, notices a cancelled fetch, and bounds the whole. */
import { AppError, toError } from '../errors.ts';
import { Pop3ConnectionError } from '../pop3/index.ts';
import type { Lease } from './lease.ts';
import { heartbeatMs, leaseTtlMs, sessionGraceMs } from './limits.ts';

export interface SupervisionOptions {
  lease: Lease;
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
  const { lease, sessionSeconds, isCancelRequested, shutdown, clock } = options;
  const controller = new AbortController();
  let renewedMs = clock.now();

  const beat = async (): Promise<void> => {
    try {
      if (!(await lease.renew())) {
        controller.abort(new AppError('lease_lost', 'Another worker has taken the maildrop over.'));
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
