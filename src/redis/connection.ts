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
    // A master that was demoted keeps its connections: only another one finds its successor.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    lazyConnect: true,
  });
  // Without a listener ioredis prints to the console. Its reconnecting repeats the same error every second: debug. The text
  // alone, as the error itself holds the command that failed: AUTH with its password.
  redis.on('error', (error) => logger.debug({ reason: error.message }, 'Redis connection error'));
  redis.on('close', () => logger.warn('Redis connection lost'));
  redis.on('ready', () => logger.info('Redis connection ready'));
  return redis;
}

/** @throws AppError `storage_unavailable` when Redis cannot be reached in time. */
export async function connectRedis(redis: Redis, place: string): Promise<void> {
  // What connect() throws says no more than that the connection is closed: the reason comes as an event.
  let reason: string | undefined;
  const noteReason = ({ message }: Error): void => {
    reason = message;
  };
  redis.on('error', noteReason);
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    redis.disconnect();
    const why = (reason ?? toError(error).message).replace(/\.$/, '');
    throw new AppError(
      'storage_unavailable',
      `Redis at ${place} cannot be reached: ${why}. Is REDIS_URL right and the server running?`,
      { cause: error },
    );
  } finally {
    redis.off('error', noteReason);
  }
}

/** How ioredis says that there is no connection, that it was lost midway, or that no answer came in time. */
const CONNECTION_LOST = /Stream isn't writeable|Connection is closed|Command timed out/;
/** How Redis refuses for now: starting, failed over, its disk or memory full, a script that does not end. */
const REFUSED_FOR_NOW = /^(?:LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|MISCONF|OOM|NOREPLICAS|BUSY)\b/;
const NETWORK_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND']);

/** True for errors of Redis and of the way to it that have nothing to do with what was asked: the same may work later. */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // A transaction that was refused: why is told of each of its commands.
  if ('previousErrors' in error && Array.isArray(error.previousErrors) && error.previousErrors.length > 0) {
    return error.previousErrors.some(isRedisUnavailable);
  }
  return (
    error.name === 'MaxRetriesPerRequestError' ||
    CONNECTION_LOST.test(error.message) ||
    REFUSED_FOR_NOW.test(error.message) ||
    NETWORK_CODES.has('code' in error ? String(error.code) : '')
  );
}
