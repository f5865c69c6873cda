/**
 * Word that a tenant's log has grown. One connection to Redis for all who wait in this process, subscribed to the channels of those
 * tenants for whom somebody waits. Word may come without news, and may be lost with the connection: who waits looks from time to time.
 */
import type { RedisClient } from '../redis/client.ts';
import { eventKeys } from '../redis/keys.ts';

export interface Ear {
  /** Resolves when there may be news since it listens, or since it has last resolved; at latest after the time or with the signal. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<void>;
  stop(): void;
}

export interface News {
  /** At once. Whatever came before the subscription is in place may be news as well. */
  listen(tenant: string): Ear;
}

/** @param subscriber a connection of its own, which waits for Redis to come back. */
export function createNews(subscriber: RedisClient): News {
  const ears = new Map<string, Set<() => void>>();
  const tell = (channel: string): void => ears.get(channel)?.forEach((hear) => hear());
  const subscribe = (channel: string): void => {
    // A connection that is closed subscribes again when it is back, which is told below.
    subscriber.subscribe(channel).then(
      () => tell(channel),
      () => undefined,
    );
  };
  subscriber.on('message', tell);
  subscriber.on('ready', () => [...ears.keys()].forEach(subscribe));

  return {
    listen(tenant) {
      const { channel } = eventKeys(tenant);
      let hasHeard = false;
      let wake: (() => void) | null = null;
      const hear = (): void => {
        hasHeard = true;
        wake?.();
      };
      const others = ears.get(channel);
      if (others) others.add(hear);
      else {
        ears.set(channel, new Set([hear]));
        subscribe(channel);
      }
      return {
        async wait(timeoutMs, signal) {
          if (!hasHeard && !signal.aborted) {
            const { promise, resolve } = Promise.withResolvers<void>();
            const stop = (): void => resolve();
            wake = stop;
            const timer = setTimeout(stop, timeoutMs);
            signal.addEventListener('abort', stop);
            await promise;
            // A stream waits with one signal for hours.
            signal.removeEventListener('abort', stop);
            clearTimeout(timer);
            wake = null;
          }
          hasHeard = false;
        },
        stop() {
          const here = ears.get(channel);
          here?.delete(hear);
          if (here?.size !== 0) return;
          ears.delete(channel);
          subscriber.unsubscribe(channel).catch(() => undefined);
        },
      };
    },
  };
}
