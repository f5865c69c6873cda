import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { readConfig } from '../../../src/config/config.ts';
import { createBlobStore } from '../../../src/message/blobs/blob-store-choice.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { chunks, NAME, read } from './blob-store-suite.ts';

/** Whether the SDK was loaded: it takes as long as all the rest of popbridge. */
const loaded = vi.hoisted((): string[] => []);
vi.mock('@aws-sdk/client-s3', () => {
  loaded.push('client-s3');
  return {};
});
vi.mock('@aws-sdk/lib-storage', () => ({}));

let server: TestRedis;
let redis: Redis;
let dataDir: string;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  dataDir = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(dataDir, { recursive: true, force: true });
});

test('mail goes where the settings say, and the SDK of S3 is loaded only when that is used', async () => {
  const files = createBlobStore(readConfig({}).blobs, { redis, dataDir });
  await files.write(NAME, chunks('x'));
  expect((await readdir(dataDir, { recursive: true })).some((path) => path.startsWith('blobs/default/'))).toBe(true);

  const inRedis = createBlobStore(readConfig({ POPBRIDGE_BLOB_STORE: 'redis' }).blobs, { redis, dataDir });
  expect(await read(inRedis, NAME)).toBeNull();
  await inRedis.write(NAME, chunks('y'));
  expect(await redis.keys('pb:{blobs}:blob:*')).toHaveLength(1);
  const smallest = { POPBRIDGE_BLOB_STORE: 'redis', POPBRIDGE_REDIS_BLOBS_BYTES_MAX: '16777216' };
  const bounded = createBlobStore(readConfig(smallest).blobs, { redis, dataDir });
  await expect(bounded.write({ ...NAME, id: 'blb_00ab' }, [Buffer.alloc(16_777_216)])).rejects.toMatchObject({
    code: 'storage_failed',
  });

  const bucket = {
    POPBRIDGE_BLOB_STORE: 's3',
    POPBRIDGE_S3_BUCKET: 'mail',
    POPBRIDGE_S3_ENDPOINT: 'http://s3.invalid',
  };
  const s3 = createBlobStore(readConfig(bucket).blobs, { redis, dataDir });
  expect(loaded).toEqual([]);
  await expect(s3.check()).rejects.toMatchObject({ code: 'storage_failed' });
  expect(loaded).toEqual(['client-s3']);
});
