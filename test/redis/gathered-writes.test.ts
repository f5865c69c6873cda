import { once } from 'node:events';
import { Socket } from 'node:net';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openRedis } from '../../src/redis/connection.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const silent = pino({ level: 'silent' });
let server: TestRedis;

beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await server.close();
});

test('commands of one turn go out in one write and in their order, text and bytes alike', async () => {
  const write = vi.spyOn(Socket.prototype, 'write');
  const redis = openRedis(server.url, silent);
  await redis.connect();
  write.mockClear();
  const bytes = Buffer.from([0xff, 0, 0x0d, 0x0a]);
  const answers = await Promise.all([
    redis.set('bytes', bytes),
    redis.set('text', 'Grüße'),
    redis.get('text'),
    redis.multi().incr('count').incr('count').exec(),
    redis.getBuffer('bytes'),
  ]);
  expect(answers).toEqual([
    'OK',
    'OK',
    'Grüße',
    [
      [null, 1],
      [null, 2],
    ],
    bytes,
  ]);
  expect(write).toHaveBeenCalledTimes(1);
  expect(await redis.get('count')).toBe('2');
  expect(write).toHaveBeenCalledTimes(2);
  redis.disconnect();
});

test('what was sent goes out before the connection is closed, and again over the next one', async () => {
  const redis = openRedis(server.url, silent);
  await redis.connect();
  const sent = redis.set('last', 'word').catch(() => undefined);
  const closed = once(redis, 'close');
  redis.disconnect();
  await Promise.all([sent, closed]);
  await redis.connect();
  expect(await redis.get('last')).toBe('word');
  redis.disconnect();
});
