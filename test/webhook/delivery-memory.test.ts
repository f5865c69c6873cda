/** What deliveries that wait take of Redis. */
import { expect, test } from 'vitest';
import { webhookKeys } from '../../src/redis/keys.ts';
import { received, TENANT, useDelivering } from './delivering.ts';

const it = useDelivering();
const WAIT_MS = 15_000;

/** Of all keys. */
async function usedBytes(): Promise<number> {
  const keys = await it.redis.keys('*');
  const bytes = await Promise.all(keys.map((key) => it.redis.memory('USAGE', key, 'SAMPLES', 0)));
  return bytes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
}

test('an event costs Redis as much at each of a hundred webhooks as at one', async () => {
  const costOf = async (webhooks: number): Promise<number> => {
    await it.redis.flushall();
    for (let count = 0; count < webhooks; count += 1) await it.make('http://127.0.0.1:9/');
    const before = await usedBytes();
    for (let number = 0; number < 50; number += 1) await it.announce(received(number));
    return ((await usedBytes()) - before) / 50 / webhooks;
  };
  const alone = await costOf(1);
  expect(await costOf(100)).toBeLessThan(1.2 * alone);
});

test('ten thousand deliveries that wait for a dead endpoint take less than 1 KiB of Redis each', async () => {
  const webhook = await it.make('http://127.0.0.1:9/');
  const COUNT = 10_000;
  for (let from = 0; from < COUNT; from += 500) {
    await Promise.all(Array.from({ length: 500 }, (_, number) => it.announce(received(from + number))));
  }
  it.start();
  await expect
    .poll(async () => (await it.deliveries.readHealth(webhook)).openUntilMs, { timeout: WAIT_MS })
    .not.toBeNull();
  const each = (await usedBytes()) / COUNT;
  expect(await it.redis.zcard(webhookKeys(TENANT, webhook.id).queue)).toBe(COUNT);
  expect(each).toBeGreaterThan(100);
  expect(each).toBeLessThan(1024);
}, 60_000);
