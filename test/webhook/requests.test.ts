/** What an endpoint gets, request by request: how many at once, when each was signed and by what, and one probe while the breaker is open. */
import { Webhook as Verifier } from 'standardwebhooks';
import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { slowedPauseMs } from '../../src/webhook/limits.ts';
import { received, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';
import { useSender } from './sender-fixture.ts';

const it = useDelivering();
const { serveHttp } = useSender();
const WAIT_MS = 15_000;

const receive = useReceivers();

test('no more than its concurrency is under way at once, and that many are', async () => {
  let underWay = 0;
  let most = 0;
  const held: (() => void)[] = [];
  const { port } = await serveHttp((_request, response) => {
    underWay += 1;
    most = Math.max(most, underWay);
    held.push(() => {
      underWay -= 1;
      response.writeHead(204).end();
    });
  });
  const webhook = await it.make(`http://127.0.0.1:${port}/`, { concurrency: 3, timeoutMs: 15_000 });
  for (let number = 0; number < 9; number += 1) await it.announce(received(number));
  it.start();
  for (let round = 0; round < 3; round += 1) {
    await expect.poll(() => held.length, { timeout: WAIT_MS }).toBe(3);
    for (const answer of held.splice(0)) answer();
  }
  for (let number = 0; number < 9; number += 1) await it.until(webhook, received(number), 'delivered');
  expect(most).toBe(3);
});

test.each([
  [429, 2],
  [502, 2],
  [503, 2],
  [504, 2],
  [500, 4],
])('an endpoint that gets 4 requests at once, and then answers %i, gets %i from then on', async (status, atOnce) => {
  const first = [204, status];
  const held: ServerResponse[] = [];
  let isOver = false;
  const { port } = await serveHttp((_request, response) => {
    const answer = isOver ? 204 : first.shift();
    if (answer === undefined) held.push(response);
    else response.writeHead(answer).end();
  });
  const webhook = await it.make(`http://127.0.0.1:${port}/`, { concurrency: 4, timeoutMs: 15_000 });
  it.start({ retryDelaysMs: [3_600_000] });
  await it.announce(received(0));
  await it.until(webhook, received(0), 'delivered');
  await it.announce(received(1));
  await it.untilTried(webhook, received(1), 1);
  for (let number = 2; number < 12; number += 1) await it.announce(received(number));
  it.clock.aheadMs += slowedPauseMs;
  await it.due.wake(webhook, 0);
  await expect.poll(() => held.length, { timeout: WAIT_MS }).toBe(atOnce);
  // By then the next would have gone, too: what happens later has come to another.
  const witness = await it.make((await receive()).url);
  await it.announce(received(12));
  await it.until(witness, received(12), 'delivered');
  expect(held).toHaveLength(atOnce);
  isOver = true;
  for (const response of held) response.writeHead(204).end();
  for (let number = 2; number < 12; number += 1) await it.until(webhook, received(number), 'delivered');
});

test('an attempt takes no longer than the webhook says', async () => {
  const { port } = await serveHttp(() => {});
  const webhook = await it.make(`http://127.0.0.1:${port}/`, { timeoutMs: 200 });
  it.start({ retryDelaysMs: [] });
  await it.announce(received(1));
  expect((await it.until(webhook, received(1), 'failed')).attempts).toMatchObject([
    { status: null, detail: 'No answer within 0.2 s.' },
  ]);
});

test('a Redis that is away as an attempt is recorded costs the endpoint no attempt of its budget: it is sent again under the same id', async () => {
  const receiver = await receive();
  const webhook = await it.make(receiver.url);
  let faults = 1;
  it.start({
    deliveries: {
      ...it.deliveries,
      async record(...about) {
        if (faults-- <= 0) return it.deliveries.record(...about);
        it.clock.aheadMs += 60_000; // What was put off is due.
        throw new Error('Redis is away');
      },
    },
  });
  await it.announce(received(1));
  expect((await it.until(webhook, received(1), 'delivered')).spent).toBe(1);
  const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
  expect(ids).toEqual([received(1).id, received(1).id]);
});

test('each attempt is signed with its own time, under the one id', async () => {
  const answers = [500, 500];
  const receiver = await receive({
    answer: () => {
      it.clock.aheadMs += 60_000;
      return answers.shift() ?? 204;
    },
  });
  const webhook = await it.make(receiver.url);
  it.start();
  await it.announce(received(1));
  await it.until(webhook, received(1), 'delivered');
  const times = receiver.received.map(({ headers }) => Number(headers['webhook-timestamp']));
  expect(times).toHaveLength(3);
  expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(60);
  expect(times[2]! - times[1]!).toBeGreaterThanOrEqual(60);
  for (const { headers, body } of receiver.received) {
    expect(headers['webhook-id']).toBe(received(1).id);
    expect(() => new Verifier(webhook.secret).verify(body, headers as Record<string, string>)).not.toThrow();
  }
});

test('while secrets are changed over requests are signed with both, then with the new one; without overlap at once', async () => {
  const receiver = await receive();
  const webhook = await it.make(receiver.url);
  it.start();
  const verifies = async (number: number, secrets: readonly string[]): Promise<boolean[]> => {
    await it.announce(received(number));
    await it.until(webhook, received(number), 'delivered');
    const { headers, body } = receiver.received.at(-1)!;
    // The package holds the time against its own clock.
    const at = Number(headers['webhook-timestamp']);
    expect(Math.abs(at - it.clock.now() / 1000)).toBeLessThan(60);
    return secrets.map((secret) => {
      const [id, stamp] = [String(headers['webhook-id']), new Date(at * 1000)];
      const own = new Verifier(secret).sign(id, stamp, body.toString());
      return String(headers['webhook-signature']).split(' ').includes(own);
    });
  };
  const first = webhook.secret;
  expect(await verifies(1, [first])).toEqual([true]);
  const { secret: second } = (await it.service.rotateSecret(webhook, 3_600_000, false))!;
  expect(await verifies(2, [first, second])).toEqual([true, true]);
  it.clock.aheadMs += 3_600_001;
  expect(await verifies(3, [first, second])).toEqual([false, true]);
  const { secret: third } = (await it.service.rotateSecret(webhook, 0, false))!;
  expect(await verifies(4, [first, second, third])).toEqual([false, false, true]);
});

test('an open breaker lets one probe through when its time is over, and none beside it', async () => {
  const receiver = await receive({ answer: () => 500 });
  const webhook = await it.make(receiver.url, { concurrency: 5 });
  for (let number = 0; number < 30; number += 1) await it.announce(received(number));
  it.start({ retryDelaysMs: Array.from({ length: 50 }, () => 10) });
  const openUntil = async () => (await it.deliveries.readHealth(webhook)).openUntilMs;
  await expect.poll(openUntil, { timeout: WAIT_MS }).not.toBeNull();
  // What was under way as it opened has come to its end.
  const isIdle = async () =>
    receiver.received.length === (await spent()) && (await it.redis.exists(`${keyOf(webhook.id)}:drainer`)) === 0;
  const spent = async (): Promise<number> => {
    const each = Array.from({ length: 30 }, (_, number) => it.deliveries.find(webhook, received(number).id));
    return (await Promise.all(each)).reduce((sum, delivery) => sum + delivery!.spent, 0);
  };
  for (let probe = 1; probe <= 2; probe += 1) {
    await expect.poll(isIdle, { timeout: WAIT_MS }).toBe(true);
    const before = receiver.received.length;
    const until = (await openUntil())!;
    it.clock.aheadMs += until - it.clock.now() + 1;
    await it.due.wake(webhook, 0);
    await expect.poll(openUntil, { timeout: WAIT_MS }).toBeGreaterThan(until);
    await expect.poll(isIdle, { timeout: WAIT_MS }).toBe(true);
    expect(receiver.received.length - before).toBe(1);
  }
});

function keyOf(id: string): string {
  return `pb:{default/${id}}`;
}
