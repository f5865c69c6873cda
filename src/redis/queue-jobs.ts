/** What is in a BullMQ queue, read off its keys: in constant time, and without opening it. */
import type { RedisClient } from './client.ts';
import { queueKeys } from './keys.ts';

export interface QueueJobs {
  waiting: number;
  active: number;
  delayed: number;
}

export async function countJobs(redis: RedisClient, queue: string): Promise<QueueJobs> {
  const { wait, active, delayed } = queueKeys(queue);
  const counts = await Promise.all([redis.llen(wait), redis.llen(active), redis.zcard(delayed)]);
  return { waiting: counts[0], active: counts[1], delayed: counts[2] };
}

/** When the job that is next was added, or says that it was; epoch milliseconds. Null where none waits. */
export async function oldestWaiting(redis: RedisClient, queue: string): Promise<number | null> {
  const { wait, jobOf } = queueKeys(queue);
  const id = await redis.lindex(wait, -1);
  const at = id === null ? null : await redis.hget(jobOf(id), 'timestamp');
  return at === null ? null : Number(at);
}
