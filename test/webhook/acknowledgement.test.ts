import { describe, expect, test } from 'vitest';
import { awaitedKey } from '../../src/redis/keys.ts';
import { received, TENANT, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';

const it = useDelivering();
const receive = useReceivers();
const WAIT_MS = 15_000;

/** Of two webhooks the first has the message, and the second is down until it is mended. */
async function deliverToFirst() {
  let isBroken = true;
  const [quick, broken] = [await receive(), await receive({ answer: () => (isBroken ? 500 : 204) })];
  const first = await it.make(quick.url);
  const second = await it.make(broken.url);
  it.start({ retryDelaysMs: Array.from({ length: 9 }, () => 100) });
  await it.announce(received(1));
  await it.until(first, received(1), 'delivered');
  return { first, second, mend: () => void (isBroken = false) };
}

/** Nothing is sent yet. */
async function announceToTwo() {
  const [one, other] = [await receive(), await receive()];
  const first = await it.make(one.url);
  const second = await it.make(other.url);
  await it.announce(received(1));
  return { one, other, first, second };
}

describe('a message counts as acknowledged', () => {
  test('once every webhook that it was for has acknowledged it', async () => {
    const { second, mend } = await deliverToFirst();
    await it.untilTried(second, received(1), 2);
    expect(it.acknowledged).toEqual([]);
    mend();
    await it.until(second, received(1), 'delivered');
    await expect.poll(() => it.acknowledged, { timeout: WAIT_MS }).toEqual([received(1).subject]);
  });

  test('whenever the last one has it, be it that nothing is left of the deliveries to the others', async () => {
    const { first, second, mend } = await deliverToFirst();
    await it.deliveries.forget(first);
    mend();
    await it.until(second, received(1), 'delivered');
    expect(it.acknowledged).toEqual([received(1).subject]);
  });

  test('not where it is not known any more who has it: somebody may not', async () => {
    const { first, second } = await announceToTwo();
    await it.redis.del(awaitedKey(TENANT, received(1).id));
    it.start();
    await it.until(first, received(1), 'delivered');
    await it.until(second, received(1), 'delivered');
    expect(it.acknowledged).toEqual([]);
  });

  test('without those that are deleted meanwhile', async () => {
    const [dead, quick] = [await receive({ answer: () => 500 }), await receive()];
    const gone = await it.make(dead.url);
    await it.service.change(gone, { settings: {}, isDisabled: true });
    const webhook = await it.make(quick.url);
    await it.service.change(gone, { settings: {}, isDisabled: false });
    await it.announce(received(1));
    await it.service.delete(gone);
    it.start();
    await it.until(webhook, received(1), 'delivered');
    expect(it.acknowledged).toEqual([received(1).subject]);
  });

  test('told again after a fault, by another attempt under the same id', async () => {
    const { one, other, first, second } = await announceToTwo();
    let faults = 2;
    it.start({
      async onDelivered({ event }) {
        if (faults-- > 0) {
          it.clock.aheadMs += 60_000;
          throw new Error('Redis is away');
        }
        it.acknowledged.push(event.subject);
      },
    });
    await it.until(first, received(1), 'delivered');
    await it.until(second, received(1), 'delivered');
    expect(it.acknowledged).toEqual([received(1).subject, received(1).subject]);
    const ids = [...one.received, ...other.received].map(({ headers }) => headers['webhook-id']);
    expect(ids.length).toBe(4);
    expect(new Set(ids)).toEqual(new Set([received(1).id]));
  });
});
