/** Lets the time pass that leases and locks of a dead process go on for, which is some ten seconds, without waiting for it. */
import type { Redis } from 'ioredis';

export async function expireLeases(redis: Redis): Promise<void> {
  await drop(redis, await redis.keys('*:lease'));
}

/** A webhook that a dead worker was delivering to is taken up by the next one. */
export async function expireDrainers(redis: Redis): Promise<void> {
  await drop(redis, await redis.keys('*:drainer'));
}

/** BullMQ's own: a job without a lock, and found without one before, is taken up again when the next worker looks. */
export async function expireJobLocks(redis: Redis): Promise<void> {
  await drop(redis, [...(await redis.keys('*:lock')), ...(await redis.keys('*:stalled-check'))]);
  for (const key of await redis.keys('*:active')) {
    const jobs = await redis.lrange(key, 0, -1);
    if (jobs.length > 0) await redis.sadd(key.replace(/active$/, 'stalled'), ...jobs);
  }
}

async function drop(redis: Redis, keys: readonly string[]): Promise<void> {
  for (const key of keys) await redis.del(key);
}
