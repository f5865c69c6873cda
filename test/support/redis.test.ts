import { existsSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { startRedis } from './redis.ts';

async function ask<T>(url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 });
  redis.on('error', () => {});
  try {
    await redis.connect();
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}

test('a killed server stays down until it is restarted, then has the same socket and data', async () => {
  const server = await startRedis();
  try {
    await ask(server.url, (redis) => redis.set('key', 'value'));
    const { pid } = server;
    await server.kill();
    await expect(ask(server.url, (redis) => redis.ping())).rejects.toThrow('Connection is closed');
    await server.restart();
    expect(server.pid).not.toBe(pid);
    expect(await ask(server.url, (redis) => redis.get('key'))).toBe('value');
  } finally {
    await server.close();
  }
  expect(existsSync(server.socketPath)).toBe(false);
});

test('a restart without a kill is a clean one', async () => {
  const server = await startRedis();
  try {
    await ask(server.url, (redis) => redis.set('key', 'value'));
    await server.restart();
    expect(await ask(server.url, (redis) => redis.get('key'))).toBe('value');
  } finally {
    await server.close();
  }
});
