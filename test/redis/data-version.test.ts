import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { checkData, openData } from '../../src/redis/data-version.ts';
import { dataKey } from '../../src/redis/keys.ts';
import { MIGRATIONS, type Migration } from '../../src/redis/migrations.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const logger = pino({ level: 'silent' });
let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(() => redis.flushall());

const stored = () => redis.hgetall(dataKey);
/** Adds its name to a set, as a migration that may run twice does. */
const adding = (name: string, readableBy = 1): Migration => ({
  readableBy,
  run: async (to) => void (await to.sadd('done', name)),
});
const done = async () => (await redis.smembers('done')).toSorted();

test('an empty Redis gets the version of the program, and a second start changes nothing', async () => {
  await openData(redis, logger);
  expect(await stored()).toEqual({ version: String(MIGRATIONS.length + 1), readableBy: expect.any(String) as string });
  const before = await stored();
  await openData(redis, logger);
  expect(await stored()).toEqual(before);
});

test('data of an older version is migrated step by step, each step once, data without a version from the first', async () => {
  await openData(redis, logger, [adding('a')]);
  expect(await done()).toEqual(['a']);
  await redis.del('done');
  await openData(redis, logger, [adding('a'), adding('b'), adding('c', 2)]);
  expect(await done()).toEqual(['b', 'c']);
  expect(await stored()).toEqual({ version: '4', readableBy: '2' });
});

test('a migration that was broken off runs again from where it was, and not those before it', async () => {
  let isBroken = true;
  const broken: Migration = {
    readableBy: 1,
    async run(to) {
      await to.sadd('done', 'half');
      if (isBroken) throw new Error('killed');
      await to.sadd('done', 'whole');
    },
  };
  const counted: string[] = [];
  const first: Migration = { readableBy: 1, run: async () => void counted.push('first') };
  await expect(openData(redis, logger, [first, broken])).rejects.toThrow('killed');
  expect(await stored()).toEqual({ version: '2', readableBy: '1' });
  isBroken = false;
  await openData(redis, logger, [first, broken]);
  expect(await done()).toEqual(['half', 'whole']);
  expect(counted).toEqual(['first']);
});

test('two processes that migrate at once end with the same', async () => {
  const both = [adding('a'), adding('b')];
  await Promise.all([openData(redis, logger, both), openData(redis, logger, both)]);
  expect(await done()).toEqual(['a', 'b']);
  expect(await stored()).toEqual({ version: '3', readableBy: '1' });
});

test('an older program works on newer data that it can read, and does not take its version back', async () => {
  await openData(redis, logger, [adding('a'), adding('b', 1)]);
  await openData(redis, logger, []);
  expect(await checkData(redis, [])).toBe('ok');
  expect(await stored()).toEqual({ version: '3', readableBy: '1' });
});

test('what one step has left unreadable stays so after the steps that follow, in one go or later', async () => {
  await openData(redis, logger, [adding('a', 2), adding('b', 1)]);
  expect(await stored()).toEqual({ version: '3', readableBy: '2' });
  await openData(redis, logger, [adding('a', 2), adding('b', 1), adding('c', 1)]);
  expect(await stored()).toEqual({ version: '4', readableBy: '2' });
  expect(await checkData(redis, [])).toContain('version 4');
  await expect(openData(redis, logger, [])).rejects.toMatchObject({ code: 'invalid_config' });
});

test('a program refuses data that it cannot read, says what to do, and changes nothing', async () => {
  await openData(redis, logger, [adding('a'), adding('b', 2)]);
  const before = await stored();
  await expect(openData(redis, logger, [])).rejects.toMatchObject({
    code: 'invalid_config',
    message: expect.stringMatching(
      /version 3, which a newer popbridge .* reads up to 1\. Start a popbridge .* Nothing was changed/,
    ) as string,
  });
  expect(await stored()).toEqual(before);
  expect(await checkData(redis, [])).toContain('version 3');
});
