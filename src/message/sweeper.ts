/** Calls the sweep at start and from time to time. A sweep that fails is logged, and tried again at its next time. */
import type { Logger } from 'pino';
import { sweepEveryMs } from './limits.ts';

export interface Sweeper {
  close(): Promise<void>;
}

export function createSweeper({ sweep, logger }: { sweep(): Promise<number>; logger: Logger }): Sweeper {
  const run = async (): Promise<void> => {
    try {
      const deleted = await sweep();
      if (deleted > 0) logger.info({ deleted }, 'Blobs past their retention deleted');
    } catch (error) {
      logger.error({ err: error }, 'Sweep failed');
    }
  };
  let running = run();
  const timer = setInterval(() => {
    running = running.then(run);
  }, sweepEveryMs);
  return {
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}
