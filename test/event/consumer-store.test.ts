import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createConsumerStore, type ConsumerStore } from '../../src/event/consumer-store.ts';
import { consumersMax } from '../../src/event/limits.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const SETTINGS = { types: ['message.*'], mailboxId: null, createdAt: '2026-11-23T12:00:00.000Z' };
const at = (number: number, ms = 1000) => ({ ms, number });

let server: TestRedis;
let redis: Redis;
let consumers: ConsumerStore;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  consumers = createConsumerStore(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(() => redis.flushall());

const cursorOf = async (name: string) => (await consumers.find('default', name))?.cursor;

test('a cursor moves forward and never back, whichever of many acknowledgements comes last', async () => {
  expect(await consumers.put('default', 'a', SETTINGS, at(5), false)).toBe(true);
  await consumers.acknowledge('default', 'a', at(4));
  expect(await cursorOf('a')).toEqual(at(5));
  const order = [9, 7, 12, 6, 10];
  await Promise.all(order.map((number) => consumers.acknowledge('default', 'a', at(number))));
  expect(await cursorOf('a')).toEqual(at(12));
  // By time first: a log that has lost its end counts anew.
  await consumers.acknowledge('default', 'a', at(3, 2000));
  expect(await cursorOf('a')).toEqual(at(3, 2000));
});

test('a consumer that is changed goes on where it was, unless it is moved', async () => {
  await consumers.put('default', 'a', SETTINGS, at(5), false);
  expect(await consumers.put('default', 'a', { ...SETTINGS, types: ['*'] }, at(9), false)).toBe(false);
  expect(await consumers.find('default', 'a')).toEqual({ name: 'a', ...SETTINGS, types: ['*'], cursor: at(5) });
  await consumers.put('default', 'a', SETTINGS, at(2), true);
  expect(await cursorOf('a')).toEqual(at(2));
});

test('each tenant has consumers of their own, which are gone when they are deleted', async () => {
  await consumers.put('default', 'b', SETTINGS, at(1), false);
  await consumers.put('default', 'a', SETTINGS, at(1), false);
  expect((await consumers.list('default')).map(({ name }) => name)).toEqual(['a', 'b']);
  expect(await consumers.list('other')).toEqual([]);
  expect(await consumers.find('other', 'a')).toBeNull();
  expect(await consumers.acknowledge('other', 'a', at(2))).toBe(false);
  expect(await consumers.delete('other', 'a')).toBe(false);
  expect(await consumers.delete('default', 'a')).toBe(true);
  expect(await consumers.acknowledge('default', 'a', at(2))).toBe(false);
  expect((await consumers.list('default')).map(({ name }) => name)).toEqual(['b']);
});

test('there are so many at most, and one of them can still be changed', async () => {
  for (let number = 0; number < consumersMax; number += 1) {
    await consumers.put('default', `c${number}`, SETTINGS, at(1), false);
  }
  await expect(consumers.put('default', 'more', SETTINGS, at(1), false)).rejects.toMatchObject({ code: 'conflict' });
  expect(await consumers.put('default', 'c0', SETTINGS, at(1), false)).toBe(false);
});
