/**
 * Connections to Redis: what they have in common, and how their failures look from outside. An address is a `redis://` or
 * `rediss://` URL, or the path of a unix socket.
 */
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from 'pino';
import { AppError, toError } from '../errors.ts';
import { connectionLimits } from './limits.ts';

/**
 * For stores and producers: a command fails at once while Redis is away, so that the API can answer 503 rather than hang.
 */
export function openRedis(address: string, logger: Logger): Redis {
  return open(address, logger, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: connectionLimits.commandTimeoutMs,
  });
}

/** For BullMQ's workers and event readers: waits for Redis to come back, however long it takes. */
export function openBlockingRedis(address: string, logger: Logger): Redis {
  return open(address, logger, { maxRetriesPerRequest: null });
}

type Variation = Pick<RedisOptions, 'enableOfflineQueue' | 'maxRetriesPerRequest' | 'commandTimeout'>;

function open(address: string, logger: Logger, options: Variation): Redis {
  const redis = new Redis(address, {
    ...options,
    connectTimeout: connectionLimits.connectTimeoutMs,
    retryStrategy: () => connectionLimits.reconnectDelayMs,
    lazyConnect: true,
  });
  // Without a listener ioredis prints to the console. Its reconnecting repeats the same error every second: debug.
  redis.on('error', (error) => logger.debug({ err: error }, 'Redis connection error'));
  redis.on('close', () => logger.warn('Redis connection lost'));
  redis.on('ready', () => logger.info('Redis connection ready'));
  return redis;
}

/** @throws AppError `storage_unavailable` when Redis cannot be reached in time. */
export async function connectRedis(redis: Redis, place: string): Promise<void> {
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    redis.disconnect();
    throw new AppError(
      'storage_unavailable',
      `Redis at ${place} cannot be reached: ${toError(error).message}. Is REDIS_URL right and the server running?`,
      { cause: error },
    );
  }
}

/** True for what ioredis throws when there is no connection, it was lost midway, or no answer came in time. */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    error.name === 'MaxRetriesPerRequestError' ||
    /Stream isn't writeable|Connection is closed|Command timed out|^(?:LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN)\b/.test(
      error.message,
    ) ||
    ['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND'].includes(
      'code' in error ? String(error.code) : '',
    )
  );
}
