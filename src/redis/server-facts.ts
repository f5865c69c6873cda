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
  appendOnly: boolean;
  lastWriteOk: boolean;
  /** A sync of the append-only file has begun and not ended. */
  isSyncing: boolean;
  evictionPolicy: string;
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
    appendOnly: fields.get('aof_enabled') === '1',
    lastWriteOk: (fields.get('aof_last_write_status') ?? 'ok') === 'ok',
    isSyncing: (fields.get('aof_pending_bio_fsync') ?? '0') !== '0',
    evictionPolicy: fields.get('maxmemory_policy') ?? 'noeviction',
    isReplica: fields.get('role') === 'slave',
    replicas: [...fields].filter(([name, value]) => /^slave\d+$/.test(name) && value.includes('state=online')).length,
  };
}

/** `appendfsync`: always, everysec or no. Null where CONFIG is refused. */
export async function readSyncPolicy(redis: Redis): Promise<string | null> {
  try {
    const [, policy] = await redis.config('GET', 'appendfsync');
    return policy ?? null;
  } catch (error) {
    if (isRedisUnavailable(error)) throw error;
    return null;
  }
}

/** @throws AppError `invalid_config` for a server that may drop keys when its memory is full: jobs and ledgers among them. */
export async function checkServer(redis: Redis, logger: Logger): Promise<void> {
  const { version, evictionPolicy, appendOnly } = await readServerFacts(redis);
  if (evictionPolicy !== 'noeviction') {
    throw new AppError(
      'invalid_config',
      `Redis is set to drop keys when its memory is full (maxmemory-policy ${evictionPolicy}). Set it to noeviction.`,
    );
  }
  logger.info({ version, appendOnly }, 'Redis checked');
  if (!appendOnly) {
    logger.warn(
      'Redis keeps no append-only file: a restart loses what it holds, and "delete": "stored" will be refused',
    );
  }
}
