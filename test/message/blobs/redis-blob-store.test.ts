import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createRedisBlobStore } from '../../../src/message/blobs/redis-blob-store.ts';
import { redisBlobLimits } from '../../../src/message/blobs/limits.ts';
import { openRedis } from '../../../src/redis/connection.ts';
import { blobDraftKey, blobKeys, blobStoreKeys } from '../../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { chunks, createHeldSource, describeBlobStore, lent, listAll, NAME, read } from './blob-store-suite.ts';

const MIB = 1024 * 1024;
const BYTES_MAX = 100 * MIB;

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

/** Every key that has bytes of mail. */
async function listKeys(): Promise<string[]> {
  return (await redis.keys('pb:{blobs}:*')).filter((key) => /^pb:\{blobs\}:(?:blob|draft):/.test(key));
}

/** What the count says, and what there is. */
async function countBytes(): Promise<[counted: number, there: number]> {
  const lengths = await Promise.all((await listKeys()).map((key) => redis.strlen(key)));
  return [Number(await redis.get(blobStoreKeys.bytes)), lengths.reduce((sum, length) => sum + length, 0)];
}

describeBlobStore('Redis', async () => ({
  store: createRedisBlobStore(redis, { bytesMax: BYTES_MAX }),
  list: listKeys,
  async remove() {
    const [counted, there] = await countBytes();
    await redis.flushall();
    if (counted !== there) throw new Error(`${there} bytes are there, and ${counted} are counted`);
  },
}));

describe('blobs in Redis', () => {
  afterEach(() => redis.flushall());

  test('a blob that is too large is refused before it is whole, and the others go on', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: BYTES_MAX, blobBytesMax: 5 * MIB });
    let sent = 0;
    const refused = {
      code: 'storage_failed',
      message: expect.stringMatching(
        /larger than the Redis blob store takes \(5 MiB\).*POPBRIDGE_BLOB_STORE/,
      ) as unknown,
    };
    const source = lent(20 * MIB, () => (sent += 65_536));
    await expect(store.write(NAME, source)).rejects.toMatchObject(refused);
    expect(sent).toBeLessThan(10 * MIB);
    expect(await listKeys()).toEqual([]);
    expect(await countBytes()).toEqual([0, 0]);
    await store.write(NAME, lent(5 * MIB));
    const small = createRedisBlobStore(redis, { bytesMax: BYTES_MAX, blobBytesMax: 100_000 });
    await expect(small.write({ ...NAME, id: 'blb_00ab' }, lent(MIB))).rejects.toMatchObject({ code: 'storage_failed' });
  });

  test('all blobs together take up no more than they may; what is deleted makes room', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: 8 * MIB });
    await store.write(NAME, lent(3 * MIB));
    await store.write({ ...NAME, id: 'blb_00ab' }, lent(MIB));
    const full = {
      code: 'storage_failed',
      message: expect.stringMatching(/full \(8 MiB\): raise POPBRIDGE_REDIS_BLOBS_BYTES_MAX/) as unknown,
    };
    await expect(store.write({ ...NAME, id: 'blb_00ac' }, lent(5 * MIB))).rejects.toMatchObject(full);
    await store.write({ ...NAME, id: 'blb_00ad' }, lent(4 * MIB));
    await expect(store.write({ ...NAME, id: 'blb_00ae' }, chunks('x'))).rejects.toMatchObject(full);
    expect(await countBytes()).toEqual([8 * MIB, 8 * MIB]);
    await store.delete({ ...NAME, id: 'blb_00ab' });
    await store.write({ ...NAME, id: 'blb_00ae' }, chunks('x'));
    expect(await countBytes()).toEqual([7 * MIB + 1, 7 * MIB + 1]);
    // The store can be looked after though it is full.
    await createRedisBlobStore(redis, { bytesMax: 1 }).check();
  });

  test('many at once do not get past the bound', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: 10 * MIB });
    const writes = Array.from({ length: 12 }, (_, number) =>
      store.write({ ...NAME, id: `blb_00${number}` }, lent((number % 2 === 0 ? 1 : 3) * MIB)),
    );
    const outcomes = await Promise.allSettled(writes);
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['fulfilled', 'rejected']));
    const [counted, there] = await countBytes();
    expect([counted, counted <= 10 * MIB]).toEqual([there, true]);
  });

  test('the count is right after a writer has died, and what it has left gives way to what needs the room', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: 8 * MIB });
    const { source, reached } = createHeldSource(7 * MIB);
    void store.write(NAME, source); // For ever: as if its process were gone.
    await reached;
    const [counted, there] = await countBytes();
    expect(counted).toBe(there);
    expect(counted).toBeGreaterThanOrEqual(4 * MIB);

    const other = { ...NAME, id: 'blb_00ab' };
    await expect(store.write(other, lent(6 * MIB))).rejects.toMatchObject({ code: 'storage_failed' });
    const [id = ''] = await redis.zrange(blobStoreKeys.drafts, 0, '-1');
    expect(await redis.strlen(blobDraftKey(id))).toBe(counted);
    await redis.zadd(blobStoreKeys.drafts, Date.now() - redisBlobLimits.draftIdleMsMax - 60_000, id);
    await store.write(other, lent(6 * MIB));
    expect(await countBytes()).toEqual([6 * MIB, 6 * MIB]);
  });

  test('a blob takes up no more memory than it is long, up to 2 MiB', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: BYTES_MAX });
    await store.write(NAME, lent(1.25 * MIB));
    const bytes = Number(await redis.memory('USAGE', blobKeys(NAME.tenant, NAME.id).blob));
    expect(bytes / MIB).toBeLessThan(1.6);
  });

  test('bytes of every value come back as they were', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: BYTES_MAX });
    const content = Buffer.from(Uint8Array.from({ length: 256 * 4 }, (_, index) => index % 256));
    await store.write(NAME, [content]);
    const stream = (await store.open(NAME, { start: 100, end: 400 }))!;
    for await (const chunk of stream) expect((chunk as Buffer).equals(content.subarray(100, 401))).toBe(true);
  });

  test('more blobs than fit a page are listed, each once, those of the same microsecond too', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: BYTES_MAX });
    const count = redisBlobLimits.listPageMax * 2 + 10;
    const names = Array.from({ length: count }, (_, number) => ({ tenant: 'default', id: `blb_00${number}` }));
    await Promise.all(names.map((name) => store.write(name, chunks('x'))));
    const times = await redis.zrange(blobStoreKeys.written, 0, '-1', 'WITHSCORES');
    expect(new Set(times.filter((_, index) => index % 2 === 1)).size).toBe(count);
    expect(await listAll(store, Date.now() + 60_000)).toEqual(names.map(({ id }) => `default/${id}`).toSorted());
    // By the microsecond: what was written at the time is not before it.
    const lastMs = Number(times.at(-1)) / 1000;
    expect(await listAll(store, lastMs)).toHaveLength(count - 1);
  });

  test('a command that is sent again, as its answer was lost, changes nothing more', async () => {
    const twice = new Proxy(redis, {
      get(target, name) {
        const member = Reflect.get(target, name) as unknown;
        if (typeof member !== 'function') return member;
        const call = (...args: unknown[]): unknown => member.apply(target, args);
        if (name !== 'evalsha' && name !== 'eval') return call;
        return async (...args: unknown[]) => {
          await call(...args);
          return call(...args);
        };
      },
    });
    const store = createRedisBlobStore(twice, { bytesMax: BYTES_MAX });
    const text = Array.from({ length: 9 }, (_, at) => String(at).repeat(MIB / 2)).join('');
    await store.write(NAME, chunks(text));
    expect((await read(store, NAME)) === text).toBe(true);
    await store.write({ ...NAME, id: 'blb_00ab' }, chunks('short'));
    expect(await read(store, { ...NAME, id: 'blb_00ab' })).toBe('short');
    expect(await countBytes()).toEqual([text.length + 5, text.length + 5]);
    expect(await listAll(store, Date.now() + 60_000)).toHaveLength(2);
    await store.delete(NAME);
    expect(await countBytes()).toEqual([5, 5]);
  });

  test('a draft that has lost its end, as a failover may take it, does not become a blob', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: BYTES_MAX });
    const { source, reached, release } = createHeldSource(5 * MIB);
    const writing = store.write(NAME, source);
    await reached;
    const draft = String((await redis.zrange(blobStoreKeys.drafts, '0', '-1'))[0]);
    const length = await redis.strlen(blobDraftKey(draft));
    await redis.set(blobDraftKey(draft), await redis.getrangeBuffer(blobDraftKey(draft), 0, length - 2));
    release();
    await expect(writing).rejects.toMatchObject({ code: 'storage_failed' });
    expect(await store.has(NAME)).toBe(false);
  });

  test('a Redis that is away is storage_failed, for every call; and after it is back all goes on', async () => {
    const own = await startRedis();
    const connection = openRedis(own.url, pino({ level: 'silent' }));
    try {
      await connection.connect();
      const store = createRedisBlobStore(connection, { bytesMax: BYTES_MAX });
      await store.write(NAME, lent(3 * MIB));
      const reader = (await store.open(NAME))!;
      const { source, reached, release } = createHeldSource(5 * MIB);
      const writing = store.write({ ...NAME, id: 'blb_00ab' }, source);
      await reached;
      await own.kill();
      release();
      const away = { code: 'storage_failed', message: expect.stringContaining('Redis is away') as unknown };
      await expect(writing).rejects.toMatchObject(away);
      await expect(reader.toArray()).rejects.toMatchObject(away);
      await expect(store.write({ ...NAME, id: 'blb_00ac' }, chunks('x'))).rejects.toMatchObject(away);
      await expect(store.open(NAME)).rejects.toMatchObject(away);
      await expect(store.has(NAME)).rejects.toMatchObject(away);
      await expect(store.delete(NAME)).rejects.toMatchObject(away);
      await expect(store.check()).rejects.toMatchObject(away);
      await expect(listAll(store, Date.now())).rejects.toMatchObject(away);
      await expect(store.discardUnfinished(Date.now())).rejects.toMatchObject(away);

      await own.restart();
      await expect.poll(() => connection.status, { timeout: 10_000 }).toBe('ready');
      await store.discardUnfinished(Date.now() + 60_000);
      expect(await connection.get(blobStoreKeys.bytes)).toBe(String(3 * MIB));
      await store.write({ ...NAME, id: 'blb_00ac' }, chunks('x'));
      expect(await read(store, { ...NAME, id: 'blb_00ac' })).toBe('x');
    } finally {
      connection.disconnect();
      await own.close();
    }
  });

  test('a Redis whose memory is full is storage_failed, leaves nothing and counts nothing', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: BYTES_MAX });
    await store.write(NAME, chunks('x'));
    await redis.config('SET', 'maxmemory', '1');
    try {
      for (const bytes of [65_536, 5 * MIB]) {
        await expect(store.write({ ...NAME, id: 'blb_00ab' }, lent(bytes))).rejects.toMatchObject({
          code: 'storage_failed',
          message: expect.stringContaining('raise its maxmemory') as unknown,
        });
      }
      expect(await countBytes()).toEqual([1, 1]);
      expect(await read(store, NAME)).toBe('x');
      await store.delete(NAME);
      expect(await countBytes()).toEqual([0, 0]);
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
  });

  test('no mail is in the error that a failed command throws', async () => {
    const store = createRedisBlobStore(redis, { bytesMax: BYTES_MAX });
    await redis.lpush(blobKeys(NAME.tenant, NAME.id).blob, 'a list where the blob should be');
    const error = await store.write(NAME, chunks('dear Ann')).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'storage_failed' });
    const lines: string[] = [];
    pino({ level: 'trace' }, { write: (line) => void lines.push(line) }).error({ err: error }, 'failed');
    expect(lines.join('')).toContain('WRONGTYPE');
    expect(lines.join('')).not.toMatch(/dear|64656172/);
  });
});
