/** Calls the sweep at start and from time to time, and once a day, by one process of all, the audit of the blobs. It says what they did. */
import type { Logger } from 'pino';
import { toError } from '../errors.ts';
import { sweepEveryMs } from './limits.ts';
import type { AuditResult } from './audit.ts';
import type { SweepResult } from './sweep.ts';

export interface Sweeper {
  close(): Promise<void>;
}

export interface SweeperPorts {
  sweep(signal: AbortSignal): Promise<SweepResult>;
  /** Null where it is not yet due, or another process has done it. */
  audit(signal: AbortSignal): Promise<AuditResult | null>;
  logger: Logger;
}

export function createSweeper({ sweep, audit, logger }: SweeperPorts): Sweeper {
  const stop = new AbortController();
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      logger.error({ err: toError(error) }, `${what}: the sweep failed`);
    }
  };
  const run = async (): Promise<void> => {
    if (stop.signal.aborted) return;
    await attempt('Messages past their retention', async () => {
      const { deleted, failed, error } = await sweep(stop.signal);
      if (deleted > 0) logger.info({ deleted }, 'Messages past their retention deleted');
      if (failed > 0) logger.error({ err: error, failed }, 'Messages past their retention not deleted; tried again');
    });
    await attempt('Blobs of no message', async () => {
      const result = await audit(stop.signal);
      if (result) report(logger, result);
    });
  };
  let running = run();
  const timer = setInterval(() => {
    running = running.then(run);
  }, sweepEveryMs);
  return {
    async close() {
      clearInterval(timer);
      stop.abort();
      await running;
    },
  };
}

function report(logger: Logger, { restored, gone, incomplete, deleted, kept, failed, error }: AuditResult): void {
  if (restored > 0 || gone > 0) logger.warn({ restored, gone }, 'Redis had lost messages; what was lost is restored');
  if (incomplete > 0) logger.error({ incomplete }, 'Messages whose bytes are not all there; not restored');
  if (deleted > 0) logger.info({ deleted }, 'Blobs of no message deleted');
  if (kept > 0) logger.warn({ kept }, 'Blobs that seem to be of no message; kept, as that is not sure');
  if (failed > 0) logger.error({ err: error, failed }, 'Blobs that cannot be read; until then none is deleted');
}
