/** What Redis has lost comes back from the blobs, as it was; what was deleted does not; and no blob goes that may be needed. */
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createSealer } from '../../src/mailbox/sealing.ts';
import type { BlobStore } from '../../src/message/blobs/blob-store.ts';
import { createRedisBlobStore } from '../../src/message/blobs/redis-blob-store.ts';
import { createS3BlobStore } from '../../src/message/blobs/s3-blob-store.ts';
import { manifestTailBytes, newRedisMs, packedBytesMax } from '../../src/message/limits.ts';
import { encodeManifest, readManifest } from '../../src/message/manifest.ts';
import type { MessageStore } from '../../src/message/message-store.ts';
import { auditKey, dataKeysKey } from '../../src/redis/keys.ts';
import { S3_ACCOUNT, startS3, type TestS3 } from '../support/s3.ts';
import { DAY_MS, HOUR_MS, MAILBOX, plain, TENANT, useMessageStore } from './message-store-fixture.ts';

const fixture = useMessageStore();
const LARGE = `Subject: large\r\n\r\n${'L'.repeat(packedBytesMax)}\r\n`;
const MAILS = [plain('a'), plain('b'), LARGE, plain('a')]; // The last is byte for byte the first.
const NEWEST = { sort: 'fetched', order: 'newest', limit: 100, cursor: null } as const;
const all = { isDryRun: false, signal: new AbortController().signal };
const none = { restored: 0, gone: 0, incomplete: 0, dataKeys: 0, failed: 0, error: null };

beforeEach(() => {
  // What is listed is held against the real time at which it was written.
  fixture.clock.nowMs = Date.now();
});

const rawOf = async (id: string, store: MessageStore = fixture.messages): Promise<string | null> => {
  const raw = await store.openRaw(TENANT, id);
  return raw && (await buffer(raw)).toString();
};
const listIds = async (mailboxId?: string): Promise<string[]> => {
  const query = mailboxId === undefined ? NEWEST : { ...NEWEST, mailboxId };
  return (await fixture.messages.list(TENANT, query)).items.map(({ id }) => id).toSorted();
};

/** What an older copy of Redis's data is. */
async function save(): Promise<() => Promise<void>> {
  const { redis } = fixture;
  const saved = await Promise.all(
    (await redis.keys('*')).map(async (key) => [key, await redis.dumpBuffer(key)] as const),
  );
  return async () => {
    await redis.flushdb();
    for (const [key, value] of saved) await redis.restore(key, 0, value);
  };
}

describe('a Redis that was lost', () => {
  let s3: TestS3;
  beforeAll(async () => {
    s3 = await startS3();
    for (const [name, value] of Object.entries(S3_ACCOUNT)) vi.stubEnv(name, value);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await s3.close();
  });
  const stores: Record<string, () => Promise<BlobStore>> = {
    files: async () => fixture.blobs,
    S3: async () => {
      await s3.empty();
      return createS3BlobStore({
        endpoint: s3.url,
        bucket: s3.bucket,
        region: 'us-east-1',
        prefix: 'popbridge',
        pathStyle: true,
      });
    },
    'another Redis': async () =>
      createRedisBlobStore(fixture.redis.duplicate({ db: 1 }), { bytesMax: 64 * 1024 * 1024 }),
  };

  test.each(Object.keys(stores))('gives back every message, as it was, from %s', async (kind) => {
    fixture.blobs = await stores[kind]!();
    fixture.messages = fixture.open();
    const ids = await fixture.storeAll(MAILS);
    const before = await Promise.all(ids.map((id) => fixture.messages.find(TENANT, id)));
    const usage = await fixture.redis.hgetall(`pb:{${TENANT}/${MAILBOX}}:usage`);
    await fixture.redis.flushdb();
    fixture.messages = fixture.open();
    expect(await fixture.messages.recover({ ...all, isDryRun: true })).toMatchObject({
      ...none,
      restored: 4,
      dataKeys: 1,
    });
    expect(await fixture.redis.dbsize()).toBe(0);

    expect(await fixture.messages.recover(all)).toMatchObject({ ...none, restored: 4, dataKeys: 1 });
    expect(await listIds()).toEqual(ids.toSorted());
    expect(await listIds(MAILBOX)).toEqual(ids.toSorted());
    expect(await Promise.all(ids.map((id) => fixture.messages.find(TENANT, id)))).toEqual(before);
    expect(await Promise.all(ids.map((id) => rawOf(id)))).toEqual(MAILS);
    expect(await fixture.redis.hgetall(`pb:{${TENANT}/${MAILBOX}}:usage`)).toEqual(usage);
    expect(await fixture.messages.recover(all)).toMatchObject(none);

    // What comes again is known, by its identity and by its bytes; and all goes when its time is over.
    expect(await fixture.storeAll(MAILS)).toEqual(ids);
    expect(await fixture.storeAll([LARGE], { identity: { uidl: 'renumbered', occurrence: 0 } })).toHaveLength(1);
    expect((await listIds()).length).toBe(5);
    fixture.clock.nowMs += 8 * DAY_MS;
    expect(await fixture.messages.sweep()).toMatchObject({ deleted: 5, failed: 0 });
    expect(await fixture.listBlobs()).toEqual([]);
  });
});

test('what was deleted stays deleted, whether its blob lives on or not, and a copy outlives its original', async () => {
  const [a = '', b = ''] = await fixture.storeAll([plain('a'), plain('b')]);
  const [alone = ''] = await fixture.storeAll([plain('alone')], { identity: { uidl: 'alone', occurrence: 0 } });
  const [copy = ''] = await fixture.storeAll([plain('a')], { identity: { uidl: 'copy', occurrence: 0 } });
  for (const id of [a, alone]) expect(await fixture.messages.remove(TENANT, id)).toBe(true);
  await fixture.redis.flushdb();
  fixture.messages = fixture.open();
  expect(await fixture.messages.recover(all)).toMatchObject({ ...none, restored: 2, dataKeys: 1 });
  expect(await listIds()).toEqual([b, copy].toSorted());
  expect(await rawOf(copy)).toBe(plain('a'));
  // The bytes stay as long as the copy has them.
  expect(await fixture.messages.remove(TENANT, b)).toBe(true);
  expect(await rawOf(copy)).toBe(plain('a'));
  expect(await fixture.messages.remove(TENANT, copy)).toBe(true);
  expect(await fixture.listFiles()).toEqual([]);
  // The notes go with the next audit, as there is nothing left that they speak of.
  fixture.clock.nowMs += 2 * DAY_MS;
  expect(await fixture.messages.audit()).toMatchObject({ failed: 0 });
  expect(await fixture.listNotes()).toEqual([]);
});

test('an older copy of Redis’s data: what came since is there again, and what was deleted since is gone again', async () => {
  const released: string[] = [];
  fixture.messages = fixture.open({ onReleased: async ({ id }) => void released.push(id) });
  const [kept = '', gone = ''] = await fixture.storeAll([plain('kept'), plain('gone')]);
  const [alone = ''] = await fixture.storeAll([plain('alone')], { identity: { uidl: 'alone', occurrence: 0 } });
  const putBack = await save();
  for (const id of [gone, alone]) await fixture.messages.remove(TENANT, id);
  const [late = ''] = await fixture.storeAll([LARGE], { identity: { uidl: 'late', occurrence: 0 } });
  await putBack();
  released.length = 0;
  expect(await listIds()).toEqual([kept, gone, alone].toSorted());
  expect(await fixture.messages.recover({ ...all, isDryRun: true })).toMatchObject({ ...none, restored: 1, gone: 2 });
  expect(await listIds()).toEqual([kept, gone, alone].toSorted());
  expect(await fixture.messages.recover(all)).toMatchObject({ ...none, restored: 1, gone: 2 });
  expect(await listIds()).toEqual([kept, late].toSorted());
  expect(await rawOf(late)).toBe(LARGE);
  expect(released).toEqual([gone]);
});

test('a message that was stored anew is the later one, whichever blob is looked at first', async () => {
  const omitted = { omitted: 'too_large', bytes: 100 } as const;
  const header = await fixture.prepare(plain('a'), { raw: omitted });
  const beside = await fixture.prepare(plain('b'), { identity: { uidl: 'beside', occurrence: 0 } });
  const [first] = await fixture.messages.store(TENANT, [header, beside]);
  const putBack = await save();
  fixture.clock.nowMs += HOUR_MS;
  const [second] = await fixture.messages.store(TENANT, [await fixture.prepare(plain('a'))]);
  expect(second!.id).toBe(first!.id);
  await putBack();
  expect(await rawOf(first!.id)).toBeNull();
  await fixture.messages.recover(all);
  expect(await rawOf(first!.id)).toBe(plain('a'));
  await fixture.messages.recover(all);
  await fixture.redis.flushdb();
  await fixture.messages.recover(all);
  expect(await rawOf(first!.id)).toBe(plain('a'));
  // And once it is deleted, the one before it does not come in its place.
  await fixture.messages.remove(TENANT, first!.id);
  await fixture.redis.flushdb();
  await fixture.messages.recover(all);
  expect(await listIds()).toHaveLength(1);
});

test('what has expired is not restored', async () => {
  await fixture.storeAll([plain('short')], { retentionMs: 2 * HOUR_MS });
  const [long = ''] = await fixture.storeAll([plain('long')], { identity: { uidl: 'l', occurrence: 0 } });
  await fixture.redis.flushdb();
  fixture.clock.nowMs += 3 * HOUR_MS;
  expect(await fixture.messages.recover(all)).toMatchObject({ ...none, restored: 1, dataKeys: 1 });
  expect(await listIds()).toEqual([long]);
});

test('a blob store that is empty is the wrong one: no record is taken for one of a deleted message', async () => {
  const ids = await fixture.storeAll([plain('a')]);
  const empty = { ...fixture.blobs, has: async () => false, list: async function* () {} };
  expect(await fixture.open({ blobs: empty }).recover(all)).toMatchObject({ ...none, blobs: 0 });
  expect(await listIds()).toEqual(ids);
});

test('a recovery that is killed after any number of writes is gone on with by the next', async () => {
  const ids = await fixture.storeAll(MAILS);
  for (let writes = 0, isThrough = false; !isThrough; writes += 1) {
    await fixture.redis.flushdb();
    let left = writes;
    const redis = new Proxy(fixture.redis, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        const method = value.bind(target) as (...args: unknown[]) => Promise<unknown>;
        const isWrite = /^(?:evalsha|eval|set|hset|hsetnx|hdel|del|zadd)$/.test(String(name));
        if (!isWrite) return method;
        return (...args: unknown[]) => ((left -= 1) >= 0 ? method(...args) : Promise.reject(new Error('killed')));
      },
    });
    isThrough = (await fixture.open({ redis }).recover(all)).failed === 0;
    await Promise.all([fixture.open().recover(all), fixture.open().recover(all)]);
    expect(await listIds(MAILBOX), `after ${writes} writes`).toEqual(ids.toSorted());
    expect(await Promise.all(ids.map((id) => rawOf(id)))).toEqual(MAILS);
    expect(await fixture.redis.hget(`pb:{${TENANT}/${MAILBOX}}:usage`, 'messages')).toBe('4');
    expect(writes).toBeLessThan(200);
  }
});

describe('the audit', () => {
  test('deletes nothing where Redis is empty, and restores by itself what is older than a day', async () => {
    const ids = await fixture.storeAll(MAILS);
    await fixture.blobs.write({ tenant: TENANT, id: 'blb_written_by_an_older_version' }, [Buffer.from('x')]);
    const files = await fixture.listFiles();
    await fixture.redis.flushdb();
    fixture.messages = fixture.open();
    expect(await fixture.messages.audit()).toMatchObject({ restored: 0, deleted: 0, failed: 0 });
    await fixture.redis.flushdb();
    fixture.clock.nowMs += DAY_MS + HOUR_MS;
    expect(await fixture.messages.audit()).toMatchObject({ restored: 4, deleted: 0, failed: 0, kept: 2 });
    expect(await listIds()).toEqual(ids.toSorted());
    expect(await Promise.all(ids.map((id) => rawOf(id)))).toEqual(MAILS);
    expect(await fixture.listFiles()).toEqual(files);
    // When nobody has missed anything for long, what nobody knows goes.
    fixture.clock.nowMs += newRedisMs;
    await fixture.redis.del(auditKey);
    expect(await fixture.messages.sweep()).toMatchObject({ deleted: 4, failed: 0 });
    expect(await fixture.messages.audit()).toMatchObject({ deleted: 1, failed: 0 });
    expect(await fixture.listFiles()).toEqual([]);
  });

  test('keeps what a young blob needs, of an original that is gone and of a large message', async () => {
    const [a = ''] = await fixture.storeAll([plain('a'), plain('b')]);
    const aged = new Set((await fixture.listBlobs()).map(({ id }) => id));
    await fixture.storeAll([plain('a')], { identity: { uidl: 'copy', occurrence: 0 } });
    await fixture.storeAll([LARGE], { identity: { uidl: 'large', occurrence: 0 } });
    for (const { id } of await fixture.listBlobs()) {
      const isRaw = (await readManifest(fixture.blobs, { tenant: TENANT, id })) === null;
      if (isRaw) aged.add(id);
    }
    await fixture.messages.remove(TENANT, a);
    await fixture.redis.flushdb();
    await fixture.ageRedis();
    const before = await fixture.listFiles();
    const list: BlobStore['list'] = async function* () {
      for await (const blob of fixture.blobs.list(Number.MAX_SAFE_INTEGER)) {
        yield { ...blob, writtenMs: aged.has(blob.id) ? fixture.clock.nowMs - 2 * DAY_MS : fixture.clock.nowMs };
      }
    };
    const store = fixture.open({ blobs: { ...fixture.blobs, list } });
    expect(await store.audit()).toMatchObject({ deleted: 0, failed: 0 });
    expect(await fixture.listFiles()).toEqual(before);
    expect(await fixture.messages.recover(all)).toMatchObject({ ...none, restored: 2 });
  });

  test('deletes nothing while a data key cannot be opened, and says so', async () => {
    await fixture.storeAll(MAILS);
    await fixture.blobs.write({ tenant: TENANT, id: 'blb_orphan' }, [Buffer.from('x')]);
    const files = await fixture.listFiles();
    const stranger = createSealer(`m1:${Buffer.alloc(32, 2).toString('base64')}`);
    fixture.clock.nowMs += 2 * DAY_MS;
    for (const isLost of [true, false]) {
      if (isLost) await fixture.redis.flushdb();
      await fixture.ageRedis();
      const result = await fixture.open({ sealer: stranger }).audit();
      expect(result).toMatchObject({ deleted: 0, restored: 0, error: { code: 'storage_failed' } });
      expect(result!.error).toMatchObject({ message: expect.stringContaining('POPBRIDGE_MASTER_KEYS') as string });
      expect(await fixture.listFiles()).toEqual(files);
      await fixture.redis.flushdb();
      await fixture.messages.recover(all);
    }
  });

  test('restores what a writer that died between blob and record has left, and gives data keys a copy that have none', async () => {
    const { blobs, redis } = fixture;
    await fixture.storeAll([plain('x')]);
    const [copy] = await blobIds('dkey_');
    await blobs.delete({ tenant: TENANT, id: copy! });
    const prepared = await fixture.prepare(plain('a'), { identity: { uidl: 'a', occurrence: 0 } });
    const dying = new Proxy(redis, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (name === 'zadd') return () => Promise.reject(new Error('killed'));
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    await expect(fixture.open({ redis: dying }).store(TENANT, [prepared])).rejects.toThrow('killed');
    fixture.clock.nowMs += 2 * DAY_MS;
    expect(await fixture.messages.audit()).toMatchObject({ restored: 1, deleted: 0, failed: 0 });
    expect(await listIds()).toHaveLength(2);
    expect(await blobIds('dkey_')).toEqual([copy]);
    expect(await redis.hkeys(dataKeysKey(TENANT))).toHaveLength(2);
  });
});

async function blobIds(prefix: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of fixture.blobs.list(Number.MAX_SAFE_INTEGER)) if (id.startsWith(prefix)) ids.push(id);
  return ids;
}

describe('a manifest', () => {
  const name = { tenant: TENANT, id: 'blb_manifest' };
  const records = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ id: `msg_${n}`, sealed: Buffer.alloc(300, n) }));

  test.each([0, 1, 100, Math.ceil(manifestTailBytes / 300) + 50])(
    'of %d messages is found behind the bytes',
    async (count) => {
      await fixture.blobs.write(name, [Buffer.from('bytes'), encodeManifest(records(count))]);
      expect(await readManifest(fixture.blobs, name)).toEqual(records(count));
    },
  );

  test('that is none, or is cut, or damaged, is not taken for one', async () => {
    const { blobs } = fixture;
    expect(await readManifest(blobs, name)).toBeNull();
    const whole = encodeManifest(records(3));
    for (const bytes of [Buffer.alloc(0), Buffer.from('x'), whole.subarray(0, -1)]) {
      await blobs.write(name, [bytes]);
      expect(await readManifest(blobs, name)).toBeNull();
    }
    for (const at of [whole.length - 12, 6]) {
      const damaged = Buffer.from(whole);
      damaged[at] = 0xff;
      await blobs.write(name, [damaged]);
      await expect(readManifest(blobs, name)).rejects.toMatchObject({ code: 'storage_failed' });
    }
  });
});
