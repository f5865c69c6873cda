import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { checkDataVersion, dataVersion } from '../../src/redis/data-version.ts';
import { dataVersionKey } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { startService } from '../support/service.ts';

let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

it('the first start writes the version of its data, and the next ones, at once or later, find it', async () => {
  await Promise.all([checkDataVersion(redis), checkDataVersion(redis)]);
  expect(await redis.get(dataVersionKey)).toBe(String(dataVersion));
  await checkDataVersion(redis);
});

it('data of a newer version are left alone, and the start is refused with what to do', async () => {
  await redis.set(dataVersionKey, dataVersion + 1);
  await expect(checkDataVersion(redis)).rejects.toMatchObject({ code: 'invalid_config' });
  await expect(startService({ redis: server })).rejects.toThrow(
    new RegExp(`newer popbridge has written .*data version ${dataVersion + 1}; this one knows ${dataVersion}`),
  );
  expect(await redis.keys('*')).toEqual([dataVersionKey]);
});
