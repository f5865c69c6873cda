import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openRedis } from '../../src/redis/connection.ts';
import { defineScript } from '../../src/redis/script.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, pino({ level: 'silent' }));
  await redis.connect();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const script = defineScript('return #KEYS');

test.each<[string, (...keys: [string, string]) => Promise<unknown>]>([
  ['a command', async (...keys) => redis.del(...keys)],
  ['a script', async (...keys) => script(redis, keys, [])],
  [
    'a transaction',
    async (one, other) => {
      const answers = await redis.multi().get(one).get(other).exec();
      for (const [error] of answers ?? []) if (error) throw error;
    },
  ],
])('in tests %s may name keys of one slot only, whatever Redis it is', async (_what, use) => {
  await expect(use('pb:{one}:this', 'pb:{one}:that')).resolves.not.toThrow();
  await expect(use('pb:{one}:this', 'pb:{other}:that')).rejects.toThrow('CROSSSLOT');
});
