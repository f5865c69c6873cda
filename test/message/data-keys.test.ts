import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { createRedisBlobStore } from '../../src/message/blobs/redis-blob-store.ts';
import { createDataKeys } from '../../src/message/data-keys.ts';
import { dataKeyCacheMs } from '../../src/message/limits.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const MASTER = `m1:${Buffer.alloc(32, 1).toString('base64')}`;
const OTHER = `m1:${Buffer.alloc(32, 2).toString('base64')}`;
let server: TestRedis;
let redis: Redis;
let nowMs = 0;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(() => redis.flushall());

/** As another process on the same Redis has it. */
const process = (master = MASTER) =>
  createDataKeys({
    redis,
    blobs: createRedisBlobStore(redis, { bytesMax: 1024 * 1024 }),
    sealer: createSealer(master),
    clock: { now: () => nowMs },
  });

test('a tenant has one data key, whoever asks first and however many at once', async () => {
  const asked = await Promise.all(Array.from({ length: 20 }, () => process().current('default')));
  expect(new Set(asked.map(({ id }) => id)).size).toBe(1);
  expect(new Set(asked.map(({ key }) => key.export().toString('hex'))).size).toBe(1);
  const [known] = asked;
  expect(known!.key.symmetricKeySize).toBe(32);
  expect(await process().find('default', known!.id)).toEqual(known);
  expect((await process().current('other')).key.equals(known!.key)).toBe(false);
});

test('in Redis it is wrapped, for this tenant and no other', async () => {
  const { id, key } = await process().current('default');
  const [stored] = await redis.keys('*:dataKeys');
  const fields = await redis.hgetall(stored!);
  expect(JSON.stringify(fields)).not.toContain(key.export().toString('base64'));
  await redis.copy(stored!, stored!.replace('default', 'other'));
  await expect(process().find('other', id)).rejects.toMatchObject({ code: 'storage_failed' });
});

test('another master key opens none, and says where to look', async () => {
  const { id } = await process().current('default');
  await expect(process(OTHER).find('default', id)).rejects.toMatchObject({
    code: 'storage_failed',
    message: expect.stringContaining('POPBRIDGE_MASTER_KEYS') as string,
  });
});

test('a deleted key is gone: at once here, elsewhere when it is forgotten; new mail gets another', async () => {
  const [here, there] = [process(), process()];
  const { id, key } = await here.current('default');
  await there.current('default');
  await here.delete('default');
  expect(await here.find('default', id)).toBeNull();
  expect(await there.find('default', id)).not.toBeNull();
  nowMs += dataKeyCacheMs;
  expect(await there.find('default', id)).toBeNull();
  const next = await there.current('default');
  expect(next.id).not.toBe(id);
  expect(next.key.equals(key)).toBe(false);
});
