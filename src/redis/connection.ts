/**
 * Connections to Redis, whatever kind it is: what they have in common, and how their failures look from outside. Where it is, is
 * `place.ts`; what may be asked of it, `client.ts`.
 */
import { once } from 'node:events';
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from 'pino';
import { AppError, toError } from '../errors.ts';
import { pingMasters, type RedisClient } from './client.ts';
import { gatherWrites } from './gathered-writes.ts';
import { clusterLimits, connectionLimits } from './limits.ts';
import { LastingCluster } from './lasting-cluster.ts';
import { LastingSentinelConnector } from './sentinel-connector.ts';
import { describePlace, hasTls, type Address, type RedisPlace } from './place.ts';

/**
 * For stores and producers: a command fails while Redis is away, at once or within two seconds of a cluster's own failover, so that the
 * API can answer 503 rather than hang.
 */
export function openRedis(place: Address, logger: Logger): Redis;
export function openRedis(place: RedisPlace, logger: Logger): RedisClient;
export function openRedis(place: RedisPlace, logger: Logger): RedisClient {
  const redis = open(place, logger, {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: connectionLimits.commandTimeoutMs,
  });
  gatherWrites(redis);
  return redis;
}

/**
 * For the commands of the command line, which would begin anew: what fails while Redis is away is asked again, for a minute. It may have
 * been done by then.
 */
export function openPatientRedis(place: RedisPlace, logger: Logger): RedisClient {
  const redis = open(place, logger, {
    lazyConnect: true,
    enableOfflineQueue: true,
    maxRetriesPerRequest: Math.ceil(connectionLimits.patienceMs / connectionLimits.reconnectDelayMs),
    commandTimeout: connectionLimits.patienceMs,
    redirectionsMax: Math.ceil(connectionLimits.patienceMs / clusterLimits.retryDelayMs),
  });
  gatherWrites(redis);
  return redis;
}

/**
 * For BullMQ's workers and event readers: waits for Redis to come back, however long it takes. It connects at once: who is told to connect
 * hears of the first failure and no more, and BullMQ, which makes others like this one, would never ask again.
 */
export function openBlockingRedis(place: Address, logger: Logger): Redis;
export function openBlockingRedis(place: RedisPlace, logger: Logger): RedisClient;
export function openBlockingRedis(place: RedisPlace, logger: Logger): RedisClient {
  return open(place, logger, {
    lazyConnect: false,
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
    // A server that stands still keeps its connections open, and BullMQ waits for more than the commands that it has a time for.
    socketTimeout: connectionLimits.silenceMs,
  });
}

interface Variation
  extends
    Required<Pick<RedisOptions, 'lazyConnect' | 'enableOfflineQueue' | 'maxRetriesPerRequest'>>,
    Pick<RedisOptions, 'commandTimeout' | 'socketTimeout'> {
  /** How often a cluster's command is asked again: ioredis's own number unless given. */
  redirectionsMax?: number;
}

function open(place: RedisPlace, logger: Logger, variation: Variation): RedisClient {
  const redis = create(place, variation);
  // Without a listener ioredis prints to the console. Its reconnecting repeats the same error every second: debug. The text
  // alone, as the error itself holds the command that failed: AUTH with its password.
  const note = (error: Error, node?: string): void =>
    logger.debug({ reason: error.message, ...(node && { node }) }, 'Redis connection error');
  redis.on('error', note);
  redis.on('node error', note);
  redis.on('close', () => logger.warn('Redis connection lost'));
  redis.on('ready', () => logger.info('Redis connection ready'));
  return redis;
}

function create(place: RedisPlace, { enableOfflineQueue, redirectionsMax, ...variation }: Variation): RedisClient {
  const common = { ...variation, connectTimeout: connectionLimits.connectTimeoutMs };
  const retryStrategy = (): number => connectionLimits.reconnectDelayMs;
  if (typeof place !== 'string' && place.mode === 'cluster') {
    return new LastingCluster([...place.nodes], {
      lazyConnect: variation.lazyConnect,
      enableOfflineQueue,
      clusterRetryStrategy: retryStrategy,
      ...(redirectionsMax !== undefined && { maxRedirections: redirectionsMax }),
      retryDelayOnFailover: clusterLimits.retryDelayMs,
      retryDelayOnClusterDown: clusterLimits.retryDelayMs,
      // A master that stands still with its connection open says nothing of its successor.
      slotsRefreshInterval: clusterLimits.slotsRefreshMs,
      slotsRefreshTimeout: connectionLimits.connectTimeoutMs,
      // Certificates are for names, so these are not looked up before TLS has seen them.
      dnsLookup: (host, callback) => callback(null, host),
      redisOptions: { ...common, ...place.login },
    });
  }
  const lasting = {
    ...common,
    enableOfflineQueue,
    retryStrategy,
    // A master that was demoted keeps its connections: only another one finds its successor.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  };
  if (typeof place === 'string') return new Redis(place, lasting);
  if (place.mode === 'single') {
    return new Redis(place.address, { ...lasting, ...(place.ca !== undefined && { tls: { ca: place.ca } }) });
  }
  const { sentinels, name, username, password, login } = place;
  return new Redis({
    ...lasting,
    ...login,
    name,
    sentinels: [...sentinels],
    ...(username !== undefined && { sentinelUsername: username }),
    ...(password !== undefined && { sentinelPassword: password }),
    ...(login.tls && { sentinelTLS: login.tls, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: retryStrategy,
    sentinelCommandTimeout: connectionLimits.connectTimeoutMs,
    // As with a cluster: the sentinels tell when there is a new master.
    failoverDetector: true,
    Connector: LastingSentinelConnector,
  });
}

/** @throws AppError `storage_unavailable` when Redis cannot be reached in time; `invalid_config` when it is of another kind. */
export async function connectRedis(redis: RedisClient, place: RedisPlace): Promise<void> {
  // What connect() throws says no more than that the connection is closed: the reason comes as an event.
  let reason: string | undefined;
  const noteReason = (error: Error & { lastNodeError?: Error | null }): void => {
    // Of a cluster the event tells that no node could be asked, and by this why the last one could not.
    reason = (error.lastNodeError ?? error).message;
  };
  redis.on('error', noteReason);
  redis.on('node error', noteReason);
  const late = new AbortController();
  try {
    // Sentinels, and a cluster that is not whole, are asked again and again until they can tell of a master.
    const ready = once(redis, 'ready', { signal: late.signal });
    ready.catch(() => undefined);
    const timer = setTimeout(() => late.abort(), connectionLimits.startTimeoutMs);
    try {
      await Promise.race([redis.connect(), ready]);
    } finally {
      clearTimeout(timer);
      late.abort();
    }
    await pingMasters(redis);
    await checkKind(redis, place);
  } catch (error) {
    redis.disconnect();
    if (error instanceof AppError) throw error;
    const why = (reason ?? toError(error).message).replace(/\.$/, '');
    // What is wrong with a certificate, neither a cluster's connections nor those to sentinels tell.
    const trust = hasTls(place)
      ? ', and its certificate of an authority that is trusted (POPBRIDGE_REDIS_CA_FILE)'
      : '';
    throw new AppError(
      'storage_unavailable',
      `Redis at ${describePlace(place)} cannot be reached: ${why}. Is REDIS_URL right and the server running${trust}?`,
      { cause: error },
    );
  } finally {
    redis.off('error', noteReason);
    redis.off('node error', noteReason);
  }
}

/** A node of a cluster refuses most keys, and a sentinel all: later, and hard to understand. */
async function checkKind(redis: RedisClient, place: RedisPlace): Promise<void> {
  const mode = typeof place === 'string' ? 'single' : place.mode;
  if (mode === 'cluster') return;
  // Valkey names itself another way.
  const [, kind] = /^(?:redis|server)_mode:(cluster|sentinel)/m.exec(await redis.info('server')) ?? [];
  if (kind === undefined) return;
  const leads = mode === 'single' ? 'REDIS_URL leads' : 'The sentinels lead';
  const found = kind === 'cluster' ? 'a node of a Redis Cluster' : 'a sentinel';
  throw new AppError('invalid_config', `${leads} to ${found}: set POPBRIDGE_REDIS_MODE to ${kind}.`);
}

/** How ioredis says that there is no connection, that it was lost midway, or that no answer came in time. */
const CONNECTION_LOST =
  /Stream isn't writeable|Connection is closed|Command timed out|Cluster isn't ready|Cluster is (?:ended|disconnect)|Too many Cluster redirections|Failed to refresh slots cache/;
/** How Redis refuses for now: starting, failed over, its disk or memory full, a script that does not end. */
const REFUSED_FOR_NOW = /^(?:LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|MISCONF|OOM|NOREPLICAS|BUSY)\b/;
const NETWORK_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND']);

/** True for errors of Redis and of the way to it that have nothing to do with what was asked: the same may work later. */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const told =
    'previousErrors' in error && Array.isArray(error.previousErrors) ? (error.previousErrors as unknown[]) : [];
  if (told.length === 0) return isUnavailable(error);
  // A transaction that was refused: why is told of each of its commands. One that a cluster has refused twice is among its own causes.
  const causes = told.filter((cause) => cause !== error);
  return causes.length === 0 || causes.some((cause) => cause instanceof Error && isUnavailable(cause));
}

function isUnavailable(error: Error): boolean {
  return (
    error.name === 'MaxRetriesPerRequestError' ||
    CONNECTION_LOST.test(error.message) ||
    REFUSED_FOR_NOW.test(error.message) ||
    NETWORK_CODES.has('code' in error ? String(error.code) : '')
  );
}
