import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { queueLimits } from '../../src/redis/limits.ts';
import { openQueue } from '../../src/redis/queue.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

let server: TestRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.close());

/** A connection on which the first `late` questions of what the server is have their answers too late. */
async function connection(late: number): Promise<Redis> {
  const redis = new Redis(server.url);
  await redis.ping();
  onTestFinished(() => redis.disconnect());
  const info = redis.info.bind(redis);
  let asked = 0;
  redis.info = async () => {
    asked += 1;
    if (asked <= late) throw new Error('Command timed out');
    return info();
  };
  return redis;
}

const open = (redis: Redis) => (): Queue =>
  new Queue('test', { connection: redis, skipWaitingForReady: true }).on('error', () => undefined);

describe('a queue', () => {
  test('for which an answer came late at first is replaced by one that works', async () => {
    const redis = await connection(2);
    const broken = open(redis)();
    await broken.waitUntilReady().catch(() => undefined);
    await expect(broken.add('job', {}), 'what BullMQ makes of it').rejects.toThrow('timed out');
    const queue = await openQueue(open(redis));
    await queue.add('job', {});
    expect(await queue.count()).toBe(1);
    await queue.close();
  });

  test('that cannot be opened at all is an error that says so', async () => {
    await expect(openQueue(open(await connection(queueLimits.opensMax)))).rejects.toMatchObject({
      code: 'storage_unavailable',
    });
  });
});
