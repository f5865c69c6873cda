/** Short questions to whatever listens on a unix socket: one connection each, no retry, bounded in time. */
import { Redis } from 'ioredis';
import { serverLimits } from './limits.ts';

export type SocketState = 'ready' | 'busy' | 'silent';

/** `ready` where PING is answered with PONG; `busy` where something else is said, as while an AOF is loaded; else `silent`. */
export async function probe(socketPath: string): Promise<SocketState> {
  return await ask(socketPath, async (redis) => {
    try {
      return (await redis.ping()) === 'PONG' ? 'ready' : 'busy';
    } catch {
      return 'busy';
    }
  });
}

/** Asks the server to write what it has and end. It answers by closing the connection. */
export async function requestShutdown(socketPath: string): Promise<void> {
  await ask(socketPath, async (redis) => {
    await redis.shutdown().catch(() => {});
    return 'silent';
  });
}

async function ask(socketPath: string, question: (redis: Redis) => Promise<SocketState>): Promise<SocketState> {
  const redis = new Redis({
    path: socketPath,
    lazyConnect: true,
    // Nothing is sent but the question: no HELLO, no INFO, no CLIENT SETINFO.
    protocol: 2,
    enableReadyCheck: false,
    disableClientInfo: true,
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    connectTimeout: serverLimits.probeTimeoutMs,
    commandTimeout: serverLimits.probeTimeoutMs,
  });
  // Connection errors reach connect() and the commands; without a listener ioredis prints them as well.
  redis.on('error', () => {});
  try {
    await redis.connect();
    return await question(redis);
  } catch {
    return 'silent';
  } finally {
    redis.disconnect();
  }
}
