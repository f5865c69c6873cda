/** A process that dies between any two steps of storing or deleting leaves a whole message or none, and nothing for good. */
import { describe, expect, test } from 'vitest';
import type { BlobStore } from '../../src/message/blobs/blob-store.ts';
import { packedBytesMax } from '../../src/message/limits.ts';
import type { MessageStore } from '../../src/message/message-store.ts';
import { DAY_MS, TENANT, useMessageStore } from './message-store-fixture.ts';

const fixture = useMessageStore();
const mails = [
  'Subject: a\r\n\r\nA\r\n',
  'Subject: b\r\n\r\nB\r\n',
  `Subject: c\r\n\r\n${'C'.repeat(packedBytesMax)}\r\n`,
  'Subject: a\r\n\r\nA\r\n', // Byte for byte the first.
];
const LISTED = { sort: 'fetched', order: 'oldest', limit: 100, cursor: null } as const;

/** A store whose process is dead after so many writes: none of its later ones comes through. */
function dying(writes: number): { store: MessageStore; spent(): number } {
  let left = writes;
  const count = <T>(work: () => Promise<T>): Promise<T> => {
    left -= 1;
    return left >= 0 ? work() : Promise.reject(new Error('killed'));
  };
  const redis = new Proxy(fixture.redis, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      const method = value.bind(target) as (...args: unknown[]) => Promise<unknown>;
      const isWrite = /^(?:evalsha|eval|set|hset|hsetnx|hdel|del|zadd)$/.test(String(name));
      return (...args: unknown[]) => (isWrite ? count(() => method(...args)) : method(...args));
    },
  });
  const blobs: BlobStore = {
    ...fixture.blobs,
    write: (name, source) => count(() => fixture.blobs.write(name, source)),
    delete: (name) => count(() => fixture.blobs.delete(name)),
  };
  return { store: fixture.open({ redis, blobs }), spent: () => writes - left };
}

async function prepareAll(store: MessageStore) {
  const prepared = [];
  for (const [place, raw] of mails.entries()) {
    prepared.push(await fixture.prepare(raw, { identity: { uidl: `${place}`, occurrence: 0 } }, store));
  }
  return prepared;
}

/** Every message that can be found can be read, whole. */
async function expectWhole(): Promise<number> {
  const { items } = await fixture.messages.list(TENANT, LISTED);
  for (const { id, size } of items) {
    expect(await fixture.messages.find(TENANT, id)).not.toBeNull();
    const raw = await fixture.messages.openRaw(TENANT, id);
    let bytes = 0;
    for await (const chunk of raw!) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(size);
  }
  return items.length;
}

/** When all times are over, nothing is there but the tenant's data key. */
async function expectNothingLeft(): Promise<void> {
  fixture.clock.nowMs = Date.now() + 30 * DAY_MS;
  expect(await fixture.messages.sweep()).toMatchObject({ failed: 0 });
  expect(await fixture.messages.audit()).toMatchObject({ failed: 0 });
  expect(await fixture.listFiles()).toEqual([]);
  expect(await fixture.listNotes()).toEqual([]);
  await fixture.redis.del(...(await fixture.redis.keys('*audit*')));
  expect((await fixture.redis.keys('*')).filter((key) => !key.endsWith(':dataKeys'))).toEqual([]);
}

async function reset(): Promise<void> {
  await fixture.redis.flushall();
  // The keys of the round before, which would be put back.
  for await (const name of fixture.blobs.list(Number.MAX_SAFE_INTEGER)) await fixture.blobs.delete(name);
  await fixture.ageRedis();
  fixture.clock.nowMs = Date.now();
}

describe('killed after any number of writes', () => {
  test('while storing: what is found is whole, a second attempt stores the rest, and nothing is left for good', async () => {
    for (let writes = 0, isThrough = false; !isThrough; writes += 1) {
      await reset();
      const { store } = dying(writes);
      isThrough = await prepareAll(store)
        .then((prepared) => store.store(TENANT, prepared))
        .then(
          () => true,
          () => false,
        );
      await expectWhole();
      const again = await fixture.messages.store(TENANT, await prepareAll(fixture.messages));
      expect(await expectWhole(), `after ${writes} writes`).toBe(mails.length);
      expect(new Set(again.map(({ id }) => id)).size).toBe(mails.length);
      await expectNothingLeft();
      expect(writes).toBeLessThan(200);
    }
  });

  test('while storing, and never tried again: nothing is left for good', async () => {
    for (let writes = 0, isThrough = false; !isThrough; writes += 1) {
      await reset();
      const { store } = dying(writes);
      isThrough = await prepareAll(store)
        .then((prepared) => store.store(TENANT, prepared))
        .then(
          () => true,
          () => false,
        );
      await expectNothingLeft();
    }
  });

  test('while deleting: the message is there or it is not, and the sweeper finishes what was begun', async () => {
    for (let writes = 0, isThrough = false; !isThrough; writes += 1) {
      await reset();
      const stored = await fixture.messages.store(TENANT, await prepareAll(fixture.messages));
      const { store } = dying(writes);
      isThrough = await Promise.all(stored.map(({ id }) => store.remove(TENANT, id))).then(
        () => true,
        () => false,
      );
      const left = await expectWhole();
      fixture.clock.nowMs += 1000;
      expect(await fixture.messages.sweep()).toMatchObject({ failed: 0 });
      expect(await expectWhole()).toBe(left);
      if (left === 0) expect(await fixture.listFiles()).toEqual([]);
      await expectNothingLeft();
    }
  }, 120_000);

  test('while sweeping: the next sweep goes on', async () => {
    for (let writes = 0, isThrough = false; !isThrough; writes += 1) {
      await reset();
      await fixture.messages.store(TENANT, await prepareAll(fixture.messages));
      fixture.clock.nowMs = Date.now() + 8 * DAY_MS;
      const { store } = dying(writes);
      isThrough = await store.sweep().then(
        ({ failed }) => failed === 0,
        () => false,
      );
      await expectNothingLeft();
    }
  });
});

test('a message that is stored again while it is being deleted is there in the end, or is not; and never half', async () => {
  for (let round = 0; round < 40; round += 1) {
    await reset();
    const stored = await fixture.messages.store(TENANT, await prepareAll(fixture.messages));
    const again = await prepareAll(fixture.messages);
    await Promise.all([
      ...stored.map(({ id }) => fixture.messages.remove(TENANT, id)),
      fixture.messages.store(TENANT, again),
    ]);
    await expectWhole();
    await fixture.messages.sweep();
    await expectWhole();
    await expectNothingLeft();
  }
}, 120_000);
