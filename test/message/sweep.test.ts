/** What goes without being asked: messages whose time is over, and what killed writers have left. */
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { createDataKeys } from '../../src/message/data-keys.ts';
import { messageKey } from '../../src/redis/keys.ts';
import { DAY_MS, HOUR_MS, plain, SEALER, START_MS, TENANT, useMessageStore } from './message-store-fixture.ts';

const fixture = useMessageStore();

describe('retention', () => {
  test('is each message’s own: it is gone when its time is over, and swept with all that was its', async () => {
    const short = await fixture.prepare(plain('short'), {
      identity: { uidl: 's', occurrence: 0 },
      retentionMs: HOUR_MS * 2,
    });
    const long = await fixture.prepare(plain('long'), { identity: { uidl: 'l', occurrence: 0 } });
    const [{ id: gone } = { id: '' }, { id: kept } = { id: '' }] = await fixture.messages.store(TENANT, [short, long]);
    fixture.clock.nowMs = START_MS + 2 * HOUR_MS;
    expect(await fixture.messages.find(TENANT, gone)).toBeNull();
    expect(await fixture.messages.sweep()).toEqual({ deleted: 1, failed: 0, error: null });
    expect(await fixture.redis.exists(messageKey(TENANT, gone))).toBe(0);
    expect((await buffer((await fixture.messages.openRaw(TENANT, kept))!)).toString()).toBe(plain('long'));
    fixture.clock.nowMs = START_MS + 7 * DAY_MS;
    expect(await fixture.messages.sweep()).toMatchObject({ deleted: 1, failed: 0 });
    expect(await fixture.listFiles()).toEqual([]);
    expect(await fixture.redis.dbsize()).toBe(1);
  });

  test('sweeps thousands, of which one cannot be deleted and stays for the next time', async () => {
    for (let group = 0; group < 20; group += 1) {
      const raws = Array.from({ length: 60 }, (_, n) => plain(`${group} ${n}`));
      await fixture.storeAll(raws, { mailboxId: `mbx_${group}`, retentionMs: HOUR_MS * 2 });
    }
    fixture.clock.nowMs += 3 * HOUR_MS;
    let refused = 0;
    const stubborn = fixture.open({
      blobs: {
        ...fixture.blobs,
        delete: async (name) => {
          refused += 1;
          if (refused === 5) throw new Error('this one not');
          return fixture.blobs.delete(name);
        },
      },
    });
    expect(await stubborn.sweep()).toMatchObject({ deleted: 1199, failed: 1, error: new Error('this one not') });
    expect(await fixture.messages.sweep()).toMatchObject({ deleted: 1, failed: 0 });
    expect(await fixture.listFiles()).toEqual([]);
    expect(await fixture.redis.dbsize()).toBe(1);
  });
});

describe('a tenant whose data key is deleted', () => {
  test('has no mail any more, and what is left of it goes when its time is over', async () => {
    const [id = ''] = await fixture.storeAll([plain('a')]);
    const { redis, blobs, clock } = fixture;
    await createDataKeys({ redis, blobs, clock, sealer: SEALER }).delete(TENANT);
    await fixture.ageRedis();
    const fresh = fixture.open();
    expect(await fresh.find(TENANT, id)).toBeNull();
    expect(await fresh.list(TENANT, { sort: 'fetched', order: 'newest', limit: 9, cursor: null })).toMatchObject({
      items: [],
    });
    fixture.clock.nowMs = Date.now() + 8 * DAY_MS;
    expect(await fresh.sweep()).toMatchObject({ deleted: 1, failed: 0 });
    expect(await fresh.audit()).toMatchObject({ deleted: 1, failed: 0 });
    expect(await fixture.listFiles()).toEqual([]);
  });
});

test('the audit takes no blob that is young, or that a message has; and is done once a day', async () => {
  await fixture.storeAll([plain('a')]);
  await fixture.blobs.write({ tenant: TENANT, id: 'blb_orphan' }, [Buffer.from('x')]);
  fixture.clock.nowMs = Date.now();
  expect(await fixture.messages.audit()).toMatchObject({ deleted: 0 });
  expect(await fixture.messages.audit()).toBeNull();
  await fixture.redis.del(...(await fixture.redis.keys('*audit*')));
  await fixture.ageRedis();
  fixture.clock.nowMs = Date.now() + DAY_MS + HOUR_MS;
  expect(await fixture.messages.audit()).toMatchObject({ deleted: 1, failed: 0 });
  expect(await fixture.listFiles()).toHaveLength(1);
});

test('a sweep and an audit end when they are told to, and are not done by that', async () => {
  const [id = ''] = await fixture.storeAll([plain('a')]);
  await fixture.blobs.write({ tenant: TENANT, id: 'blb_orphan' }, [Buffer.from('x')]);
  await fixture.ageRedis();
  fixture.clock.nowMs = Date.now() + 8 * DAY_MS;
  const stopped = AbortSignal.abort();
  expect(await fixture.messages.sweep(stopped)).toMatchObject({ deleted: 0 });
  expect(await fixture.messages.audit(stopped)).toMatchObject({ deleted: 0 });
  expect(await fixture.messages.audit()).toMatchObject({ deleted: 1 });
  expect(await fixture.messages.sweep()).toMatchObject({ deleted: 1 });
  expect(await fixture.messages.find(TENANT, id)).toBeNull();
});
