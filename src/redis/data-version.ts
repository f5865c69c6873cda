/** The version of the data in Redis: which programs may work on it, and what is to be migrated first. */
import type { RedisClient } from './client.ts';
import type { Logger } from 'pino';
import { AppError } from '../errors.ts';
import { dataKey } from './keys.ts';
import { dataLimits } from './limits.ts';
import { MIGRATIONS } from './migrations.ts';
import { defineScript } from './script.ts';

interface DataVersion {
  version: number;
  /** The oldest version whose programs work on it. */
  readableBy: number;
}

/**
 * KEYS: data. ARGV: version, readable by. Never back: of two programs at once the newer one's word stays, and what one step has
 * left unreadable for some is so after all that follow.
 */
const raiseVersion = defineScript(`
  if tonumber(redis.call('HGET', KEYS[1], 'version') or 0) >= tonumber(ARGV[1]) then return 0 end
  local readable = math.max(tonumber(redis.call('HGET', KEYS[1], 'readableBy') or 1), tonumber(ARGV[2]))
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'readableBy', readable)
  return 1`);

/**
 * Migrates what an older program has left, and leaves what a newer one has.
 *
 * @throws AppError `invalid_config` where the data is of a version that this program cannot read.
 */
export async function openData(redis: RedisClient, logger: Logger, migrations = MIGRATIONS): Promise<void> {
  const known = migrations.length + 1;
  const found = await readDataVersion(redis);
  const reason = whyUnreadable(found, known);
  if (reason !== null) {
    const todo = `Start a popbridge that reads version ${found.version}, or set REDIS_URL to another Redis.`;
    throw new AppError('invalid_config', `${reason} ${todo} Nothing was changed.`);
  }
  await raiseVersion(redis, [dataKey], [1, 1]);
  for (const [index, { run, readableBy }] of migrations.entries()) {
    const to = index + 2;
    if (to <= found.version) continue;
    logger.info({ from: to - 1, to }, 'Migrating the data in Redis');
    await run(redis);
    await raiseVersion(redis, [dataKey], [to, readableBy]);
  }
}

/** For readiness: a newer program may have changed the data since this one has started. `ok`, or what is wrong. */
export async function checkData(redis: RedisClient, migrations = MIGRATIONS): Promise<string> {
  return whyUnreadable(await readDataVersion(redis), migrations.length + 1) ?? 'ok';
}

/**
 * For who writes: calls once where a newer program has made the data unreadable for this one.
 * @returns what ends the watch.
 */
export function watchData(
  redis: RedisClient,
  onUnreadable: (reason: string) => void,
  { everyMs = dataLimits.watchEveryMs, migrations = MIGRATIONS } = {},
): () => void {
  const timer = setInterval(() => {
    checkData(redis, migrations).then(
      (state) => {
        if (state === 'ok') return;
        clearInterval(timer);
        onUnreadable(state);
      },
      () => undefined, // Redis is away, which readiness tells.
    );
  }, everyMs);
  return () => clearInterval(timer);
}

function whyUnreadable({ version, readableBy }: DataVersion, known: number): string | null {
  if (readableBy <= known) return null;
  return `The data in Redis is of version ${version}, which a newer popbridge has made; this one reads up to ${known}.`;
}

/** Data without a version is of the first one. */
async function readDataVersion(redis: RedisClient): Promise<DataVersion> {
  const [version, readableBy] = await redis.hmget(dataKey, 'version', 'readableBy');
  return { version: Number(version ?? 1), readableBy: Number(readableBy ?? 1) };
}
