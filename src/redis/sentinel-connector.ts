/** How connections find the master that sentinels name, and leave one that has been replaced. */
import { SentinelConnector, type SentinelConnectionOptions } from 'ioredis';

/**
 * ioredis's own listens to the sentinels for a new master, and goes on listening while the connection is being made again. What it
 * hears then breaks that off, and the connection has ended for good, whatever it was to retry.
 */
export class LastingSentinelConnector extends SentinelConnector {
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
  }

  override connect(...args: Parameters<SentinelConnector['connect']>): ReturnType<SentinelConnector['connect']> {
    this['failoverDetector']?.cleanup();
    this['failoverDetector'] = null;
    return super.connect(...args);
  }
}
