/** Calls the sweep at start and from time to time, and once a day, by one process of all, the audit of the blobs. */
import type { Logger } from 'pino';
import { toError } from '../errors.ts';
import { sweepEveryMs } from './limits.ts';
import type { SweepResult } from './sweep.ts';

export interface Sweeper {
  close(): Promise<void>;
}

export interface SweeperPorts {
  sweep(signal: AbortSignal): Promise<SweepResult>;
  /** Null where it is not yet due, or another process has done it. */
  audit(signal: AbortSignal): Promise<SweepResult | null>;
  logger: Logger;
}

export function createSweeper({ sweep, audit, logger }: SweeperPorts): Sweeper {
  const stop = new AbortController();
  const attempt = async (what: string, work: (signal: AbortSignal) => Promise<SweepResult | null>): Promise<void> => {
    try {
      const result = await work(stop.signal);
      if (!result) return;
      const { deleted, failed, error } = result;
      if (deleted > 0) logger.info({ deleted }, `${what} deleted`);
      if (failed > 0) logger.error({ err: error, failed }, `${what} not deleted; tried again`);
    } catch (error) {
      logger.error({ err: toError(error) }, `${what}: the sweep failed`);
    }
  };
  const run = async (): Promise<void> => {
    if (stop.signal.aborted) return;
    await attempt('Messages past their retention', sweep);
    await attempt('Blobs of no message', audit);
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
