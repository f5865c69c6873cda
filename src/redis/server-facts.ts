/** What a Redis server says of itself, by INFO: managed services allow it where they refuse CONFIG. */
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { AppError } from '../errors.ts';
import { isRedisUnavailable } from './connection.ts';

export interface ServerFacts {
  /** Another one after every restart. */
  runId: string;
  version: string;
  hasWaitAof: boolean;
  /** Null where it does not say. */
  appendOnly: boolean | null;
  lastWriteOk: boolean;
  /** A sync of the append-only file has begun and not ended. */
  isSyncing: boolean;
  /** Null where it does not say. */
  evictionPolicy: string | null;
  /** It follows another one, and takes no writes. */
  isReplica: boolean;
  /** Those that are connected, and have caught up once. */
  replicas: number;
}

export async function readServerFacts(redis: Redis): Promise<ServerFacts> {
  const sections = await Promise.all(
    ['server', 'persistence', 'memory', 'replication'].map((section) => redis.info(section)),
  );
  const fields = new Map(
    sections.flatMap((section) =>
      section
        .split(/\r?\n/)
        .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const),
    ),
  );
  // Valkey states the Redis version that it is compatible with here, which has WAITAOF.
  const version = fields.get('redis_version') ?? '';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return {
    runId: fields.get('run_id') ?? '',
    version,
    hasWaitAof: major > 7 || (major === 7 && minor >= 2),
    appendOnly: fields.has('aof_enabled') ? fields.get('aof_enabled') === '1' : null,
    lastWriteOk: (fields.get('aof_last_write_status') ?? 'ok') === 'ok',
    isSyncing: (fields.get('aof_pending_bio_fsync') ?? '0') !== '0',
    evictionPolicy: fields.get('maxmemory_policy') ?? null,
    isReplica: fields.get('role') === 'slave',
    replicas: [...fields].filter(([name, value]) => /^slave\d+$/.test(name) && value.includes('state=online')).length,
  };
}

/** @returns what is in use, and what may be; 0 where that has no bound. Bytes. */
export interface ServerMemory {
  bytes: number;
  /** 0 where it has no bound of its own. */
  bytesMax: number;
}

export async function readMemory(redis: Redis): Promise<ServerMemory> {
  const info = await redis.info('memory');
  const read = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  return { bytes: read('used_memory'), bytesMax: read('maxmemory') };
}

/** `appendfsync`: always, everysec or no. Null where CONFIG is refused. */
export function readSyncPolicy(redis: Redis): Promise<string | null> {
  return readSetting(redis, 'appendfsync');
}

async function readSetting(redis: Redis, name: string): Promise<string | null> {
  try {
    const [, value] = await redis.config('GET', name);
    return value ?? null;
  } catch (error) {
    if (isRedisUnavailable(error)) throw error;
    return null;
  }
}

export interface ServerDemands {
  /** A server that keeps nothing over a restart will do. */
  allowsVolatile: boolean;
}

/**
 * Refuses a server on which what was accepted would be lost: better at the start than when it happens.
 * @throws AppError `invalid_config` where it is too old, may drop keys when its memory is full, jobs and ledgers among them, or keeps
 * no append-only file. Snapshots alone are not enough: what came since the last one, minutes of it, would be gone.
 */
export async function checkServer(redis: Redis, logger: Logger, demands: ServerDemands): Promise<void> {
  const facts = await readServerFacts(redis);
  const { version } = facts;
  if (version === '') logger.warn('Redis does not say which version it is; 6.2 is needed at least');
  else if (isOlder(version, versionMin)) {
    throw unfit(
      `is version ${version}, and 6.2 is needed at least (XADD MINID, ZRANGE BYLEX). Update it, or use Valkey.`,
    );
  }
  const evictionPolicy = facts.evictionPolicy ?? (await readSetting(redis, 'maxmemory-policy'));
  if (evictionPolicy === null) {
    logger.warn(
      'Redis does not say whether it drops keys when its memory is full: make sure that it does not (noeviction)',
    );
  } else if (evictionPolicy !== 'noeviction') {
    throw unfit(
      `is set to drop keys when its memory is full (maxmemory-policy ${evictionPolicy}). Set maxmemory-policy to noeviction.`,
    );
  }
  const appendOnly = facts.appendOnly ?? toBoolean(await readSetting(redis, 'appendonly'));
  if (appendOnly === null) {
    logger.warn('Redis does not say whether it keeps an append-only file: without one a restart loses what it holds');
  } else if (!appendOnly && !demands.allowsVolatile) {
    throw unfit(
      'keeps no append-only file: a restart would lose mailboxes, ledgers and jobs. ' +
        'Set "appendonly yes", or POPBRIDGE_REDIS_ALLOW_VOLATILE=true where that is meant so.',
    );
  } else if (!appendOnly) {
    logger.warn(
      'Redis keeps no append-only file: a restart loses what it holds, and nothing is deleted upstream on its word',
    );
  }
  logger.info({ version, appendOnly, evictionPolicy }, 'Redis checked');
}

/** XADD MINID and ZRANGE BYLEX came with it; BullMQ recommends it. */
const versionMin = [6, 2] as const;

function isOlder(version: string, [wantedMajor, wantedMinor]: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}

function toBoolean(written: string | null): boolean | null {
  return written === null ? null : written === 'yes';
}

function unfit(why: string): AppError {
  return new AppError('invalid_config', `Redis ${why}`);
}
