import { createPublicKey, verify } from 'node:crypto';
import { pino } from 'pino';
import { Webhook as Verifier } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import type { WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { webhookKeys } from '../../src/redis/keys.ts';
import { faultsMin } from '../../src/webhook/limits.ts';
import { useSender } from './sender-fixture.ts';
import { received, TENANT, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';

const it = useDelivering();
const { makeSender } = useSender();
const WAIT_MS = 15_000;

const receive = useReceivers();
/** Answers what is next in the list, and 204 from then on. */
const inTurn = (answers: number[]) => ({ answer: () => answers.shift() ?? 204 });
const subjectsAt = (receiver: WebhookReceiver) =>
  receiver.received.map(({ body }) => (JSON.parse(body.toString()) as { subject: string }).subject);

type Sent = WebhookReceiver['received'][number];

/** By what Standard Webhooks says of `v1a`. */
function hasSignatureOf(publicKey: string, { headers, body }: Sent): boolean {
  const x = Buffer.from(publicKey.replace('whpk_', ''), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const head = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.`;
  const signed = Buffer.concat([Buffer.from(head), body]);
  const signatures = String(headers['webhook-signature'])
    .split(' ')
    .filter((signature) => signature.startsWith('v1a,'));
  return signatures.some((signature) => verify(null, signed, key, Buffer.from(signature.slice(4), 'base64')));
}

describe('an event', () => {
  test('comes to every webhook that wants it and to no other, signed so that the published package takes it', async () => {
    const [all, mails, elsewhere, other] = [await receive(), await receive(), await receive(), await receive()];
    const first = await it.make(all.url);
    const second = await it.make(mails.url, { events: ['message.*'], hasEd25519: true });
    await it.make(elsewhere.url, { mailboxes: ['mbx_none'] });
    await it.make(other.url, { events: ['fetch.*'] });
    it.start();
    const event = received(1);
    await it.announce(event);
    for (const [receiver, { secret }] of [
      [all, first],
      [mails, second],
    ] as const) {
      const { headers, body } = await receiver.next(WAIT_MS);
      expect(headers['webhook-id']).toBe(event.id);
      expect(new Verifier(secret).verify(body, headers as Record<string, string>)).toMatchObject({
        subject: event.subject,
      });
    }
    await Promise.all([it.until(first, event, 'delivered'), it.until(second, event, 'delivered')]);
    expect([elsewhere.received, other.received]).toEqual([[], []]);
  });

  test('is signed with the secrets and Ed25519 keys before the last change as well, and not where they were revoked', async () => {
    const receiver = await receive();
    const made = await it.make(receiver.url, { hasEd25519: true });
    const changed = await it.service.rotateSecret(made, 60_000, true);
    it.start();
    await it.announce(received(1));
    const both = await receiver.next(WAIT_MS);
    for (const secret of [made.secret, changed!.secret]) {
      new Verifier(secret).verify(both.body, both.headers as Record<string, string>);
    }
    for (const { publicKey } of [made, changed!.webhook]) expect(hasSignatureOf(publicKey!, both)).toBe(true);
    await it.service.rotateSecret(made, 0, true);
    await it.until(made, received(1), 'delivered');
    await it.announce(received(2));
    const revoked = await receiver.next(WAIT_MS);
    expect(String(revoked.headers['webhook-signature']).split(' ')).toHaveLength(2);
    for (const { publicKey } of [made, changed!.webhook]) expect(hasSignatureOf(publicKey!, revoked)).toBe(false);
  });

  test('that is announced again, as after a crash, is not sent again', async () => {
    const receiver = await receive();
    const webhook = await it.make(receiver.url);
    it.start();
    await it.announce(received(1));
    await it.until(webhook, received(1), 'delivered');
    await it.announce(received(1));
    await it.announce(received(2));
    await it.until(webhook, received(2), 'delivered');
    expect(receiver.received).toHaveLength(2);
  });

  test('is sent again until it is acknowledged, each attempt under the same id and with its own time, and all are on record', async () => {
    const receiver = await receive(inTurn([500, 302]));
    const webhook = await it.make(receiver.url);
    it.start();
    await it.announce(received(1));
    const { attempts, nextAttemptAt } = await it.until(webhook, received(1), 'delivered');
    expect(attempts.map(({ status }) => status)).toEqual([500, 302, 204]);
    expect(nextAttemptAt).toBeNull();
    expect(attempts[0]).toMatchObject({ remoteAddress: '127.0.0.1', phases: { tlsMs: null } });
    expect(attempts[0]!.phases.totalMs).toBeGreaterThan(0);
    expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([received(1).id]));
  });

  test('has failed after its last attempt, which is told of; but not of what is told', async () => {
    const receiver = await receive({ answer: () => 500 });
    const told = await receive({ answer: () => 500 });
    const webhook = await it.make(receiver.url, { events: ['message.*'] });
    const watcher = await it.make(told.url, { events: ['delivery.*'] });
    it.start({ retryDelaysMs: [10] });
    await it.announce(received(1));
    const failed = await it.until(webhook, received(1), 'failed');
    expect(failed.attempts).toHaveLength(2);
    expect(it.told).toMatchObject([
      {
        type: 'delivery.exhausted',
        subject: failed.id,
        facts: { webhookId: webhook.id, eventId: received(1).id, attempts: 2, status: 500 },
      },
    ]);
    await it.until(watcher, { ...it.told[0]!, sequence: null }, 'failed');
    expect(it.told).toHaveLength(1);
  });

  test('whose message was deleted meanwhile ends without a request', async () => {
    const receiver = await receive();
    const webhook = await it.make(receiver.url);
    it.start({ buildPayload: async () => null });
    await it.announce(received(1));
    expect((await it.until(webhook, received(1), 'failed')).attempts).toEqual([]);
    expect(receiver.received).toEqual([]);
  });

  test('that a fault of ours keeps back costs the endpoint no attempt', async () => {
    const receiver = await receive();
    const webhook = await it.make(receiver.url);
    let faults = 1;
    it.start({
      async buildPayload({ subject }) {
        if (faults-- > 0) {
          it.clock.aheadMs += 60_000; // What was put off is due.
          throw new Error('the blob store is away');
        }
        return JSON.stringify({ subject });
      },
    });
    await it.announce(received(1));
    expect((await it.until(webhook, received(1), 'delivered')).spent).toBe(1);
  });

  test('waits with all others after some faults of ours in a row, longer each time, with one line in the log for each', async () => {
    const receiver = await receive();
    const webhook = await it.make(receiver.url);
    const lines: string[] = [];
    let isAway = true;
    let tries = 0;
    for (let number = 0; number < 60; number += 1) await it.announce(received(number));
    it.start({
      async buildPayload({ subject }) {
        tries += 1;
        if (isAway) throw new Error('the blob store is away');
        return JSON.stringify({ subject });
      },
      logger: pino({ level: 'error' }, { write: (line: string) => lines.push(line) }),
    });
    const faults = async () => (await it.deliveries.readHealth(webhook)).faults;
    await expect.poll(faults, { timeout: WAIT_MS }).toBe(faultsMin);
    // And those that were under way with the last of them.
    expect(tries).toBeLessThan(faultsMin + 5);
    const first = (await it.deliveries.readHealth(webhook)).pausedUntilMs - it.clock.now();
    it.clock.aheadMs += first;
    await it.due.wake(webhook, 0);
    await expect.poll(faults, { timeout: WAIT_MS }).toBe(faultsMin + 1);
    expect(tries).toBeLessThan(faultsMin + 2 * 5);
    expect(lines).toHaveLength(faultsMin + 1);
    const second = (await it.deliveries.readHealth(webhook)).pausedUntilMs - it.clock.now();
    expect(second).toBeGreaterThan(first);
    isAway = false;
    it.clock.aheadMs += second;
    await it.due.wake(webhook, 0);
    for (let number = 0; number < 60; number += 1) await it.until(webhook, received(number), 'delivered');
    expect(await faults()).toBe(0);
    expect(receiver.received).toHaveLength(60);
  });
});

test('429 with Retry-After: nothing is sent before, neither this one nor others', async () => {
  const receiver = await receive(inTurn([429]));
  const webhook = await it.make(receiver.url, { concurrency: 1 });
  const sender = makeSender({ timeoutMs: 2_000 });
  it.start({
    post: async (...request) => ({ ...(await sender.post(...request)), retryAfter: '600' }),
  });
  await it.announce(received(1));
  const { nextAttemptAt } = await it.untilTried(webhook, received(1), 1);
  expect(Date.parse(nextAttemptAt!) - Date.now()).toBeGreaterThan(590_000);
  await it.announce(received(2));
  expect((await it.deliveries.readHealth(webhook)).pausedUntilMs - Date.now()).toBeGreaterThan(590_000);
  it.clock.aheadMs = 601_000;
  await it.due.wake(webhook, 0);
  await Promise.all([it.until(webhook, received(1), 'delivered'), it.until(webhook, received(2), 'delivered')]);
});

test('ordered: one at a time, a mailbox in its order; one that fails holds up those behind it, and no other mailbox', async () => {
  const poison = received(1, 1).subject;
  let isBroken = true;
  const receiver = await receive({
    answer: ({ body }) => (isBroken && body.toString().includes(poison) ? 500 : 204),
  });
  const webhook = await it.make(receiver.url, { isOrdered: true });
  for (let number = 1; number <= 5; number += 1) {
    await it.announce(received(number, 1));
    await it.announce(received(100 + number, 2));
  }
  it.start({ retryDelaysMs: [50, 50, 50, 50, 50, 50, 50, 50, 50, 50] });
  for (let number = 101; number <= 105; number += 1) await it.until(webhook, received(number, 2), 'delivered');
  expect(subjectsAt(receiver).filter((subject) => subject !== poison)).toEqual(
    [101, 102, 103, 104, 105].map((number) => received(number, 2).subject),
  );
  isBroken = false;
  for (let number = 1; number <= 5; number += 1) await it.until(webhook, received(number, 1), 'delivered');
  expect(subjectsAt(receiver).slice(-4)).toEqual([2, 3, 4, 5].map((number) => received(number, 1).subject));
});

test('a rate is kept to, by whoever delivers', async () => {
  const receiver = await receive();
  const webhook = await it.make(receiver.url, { ratePerSecond: 10 });
  for (let number = 0; number < 8; number += 1) await it.announce(received(number));
  it.start();
  it.start();
  for (let number = 0; number < 8; number += 1) await it.until(webhook, received(number), 'delivered');
  const times = receiver.received.map(({ receivedAt }) => receivedAt.getTime());
  expect(times.at(-1)! - times[0]!).toBeGreaterThanOrEqual(650);
});

test('endpoints that hang take nothing from the others', async () => {
  const hanging = await Promise.all(
    Array.from({ length: 40 }, () => it.make('http://127.0.0.1:9/', { timeoutMs: 60_000 })),
  );
  const receiver = await receive();
  const healthy = await it.make(receiver.url);
  let hung = 0;
  const sender = makeSender({ timeoutMs: 2_000 });
  const release = Promise.withResolvers<void>();
  it.start({
    async post(url, headers, body, timeoutMs) {
      if (url !== receiver.url) {
        hung += 1;
        await release.promise;
        url = receiver.url;
      }
      return sender.post(url, headers, body, timeoutMs);
    },
  });
  for (let number = 0; number < 5; number += 1) await it.announce(received(number));
  // While more hang than there is room for.
  await expect.poll(() => hung, { timeout: WAIT_MS }).toBeGreaterThan(20);
  for (let number = 0; number < 5; number += 1) await it.until(healthy, received(number), 'delivered');
  expect(await it.deliveries.find(hanging[0]!, received(0).id)).toMatchObject({ state: 'pending', spent: 0 });
  release.resolve();
});

test('a worker that dies between sending and recording: another one sends it again, under the same id', async () => {
  const receiver = await receive();
  const webhook = await it.make(receiver.url);
  const died = Promise.withResolvers<void>();
  const drain = it.start({
    deliveries: {
      ...it.deliveries,
      // As a killed process has it: what was sent is not recorded, the webhook not let go.
      async record() {
        died.resolve();
        return new Promise<boolean>(() => {});
      },
      renew: () => new Promise<boolean>(() => {}),
    },
  });
  await it.announce(received(1));
  await died.promise;
  void drain.close(0);
  await it.redis.pexpire(webhookKeys(TENANT, webhook.id).drainer, 1);
  it.clock.aheadMs = 10_000; // Its claim has run out.
  it.start();
  await it.until(webhook, received(1), 'delivered');
  const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
  expect(ids).toEqual([received(1).id, received(1).id]);
});

test('a webhook that is deleted gets nothing more, and nothing of it stays', async () => {
  const receiver = await receive({ answer: () => 500 });
  const webhook = await it.make(receiver.url, { isOrdered: true });
  it.start({ retryDelaysMs: [60_000] });
  await it.announce(received(1));
  await it.announce(received(2));
  await it.untilTried(webhook, received(1), 1);
  expect(await it.service.delete(webhook)).toBe(true);
  await it.due.wake(webhook, 0);
  await expect.poll(() => it.redis.keys('*'), { timeout: WAIT_MS }).toEqual([]);
  expect(receiver.received).toHaveLength(1);
});
