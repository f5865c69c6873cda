/**
 * Death of a worker that delivers: SIGKILL of the real program between what an endpoint has got and the record of that, and at seeded
 * points of many deliveries. The next worker sends it again, the same under the same id; every event comes to every webhook.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Webhook } from 'standardwebhooks';
import { expect, it, onTestFinished } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { eventId } from '../../src/identity.ts';
import {
  startWebhookReceiver,
  type ReceivedWebhook,
  type WebhookReceiver,
} from '../../src/sandbox/webhook-receiver.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { startRedis } from '../support/redis.ts';
import { eventually, startService, type FetchBody, type Service } from '../support/service.ts';
import { expireDrainers } from './passed-time.ts';
import { pick, seeded } from './plan.ts';
import { readSeeds } from './seeds.ts';
import { startWorker } from './worker.ts';

type DeliveryPage = components['schemas']['DeliveryPage'];

const KILLS = 4;
const MAILS = 40;
const WAIT_MS = 60_000;
const SECRET = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;
interface Stage {
  api: Service;
  /** One event for each message, held against all of these by their paths. */
  fetch: FetchBody;
  subscribed: ReadonlyMap<string, string>;
  /** SIGKILL, and another one, once what the dead one held is free; it stays held unless that is wanted. */
  replaceWorker(expires: boolean): Promise<void>;
}

/** An API and a worker (the whole program, or one that starts quicker), mails that were fetched, and webhooks whose first requests are answered when the fetch has ended. */
async function setStage(receiver: WebhookReceiver, mails: number, isLean: boolean): Promise<Stage> {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const dataDir = await mkdtemp(join(tmpdir(), 'popbridge-chaos-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  const client = new Redis(redis.url);
  onTestFinished(() => client.disconnect());
  const api = await startService({ redis, dataDir, env: { POPBRIDGE_ROLE: 'api' } });
  onTestFinished(() => api.close());
  async function start(): Promise<{ kill(signal: 'SIGKILL'): Promise<unknown> }> {
    if (!isLean) return startService({ redis, dataDir, env: { POPBRIDGE_ROLE: 'worker' } });
    const lean = startWorker({ redis, dataDir });
    await lean.ready;
    return lean;
  }
  let worker = await start();
  onTestFinished(() => void worker.kill('SIGKILL'));

  const subscribed = new Map<string, string>();
  for (const [path, ordered] of [
    ['/any', false],
    ['/ordered', true],
  ] as const) {
    const body = { url: `${receiver.url}${path.slice(1)}`, events: ['message.received', 'fetch.succeeded'], ordered };
    const made = (await api.api('POST', '/v1/webhooks', { body })).json() as components['schemas']['CreatedWebhook'];
    subscribed.set(path, made.webhook.id);
  }
  const server = await startFakePop3({
    mails: Array.from({ length: mails }, (_, n) => `Subject: mail ${n}\r\n\r\nText ${n}.\r\n`),
  });
  onTestFinished(() => server.close());
  const source = { host: server.host, port: server.port, tls: 'none', username: 'ann', password: 'secret' } as const;
  const fetch = await api.fetchMail({ source, webhook: { url: `${receiver.url}fetch`, secret: SECRET } });
  expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: mails } });
  subscribed.set('/fetch', fetch.webhook!.id);
  return {
    api,
    fetch,
    subscribed,
    async replaceWorker(expires) {
      await worker.kill('SIGKILL');
      if (expires) await expireDrainers(client);
      worker = await start();
    },
  };
}

/** Each event at least once at each path, under its one id, and always the same; and all are on record as delivered. */
async function checkAll({ api, fetch, subscribed }: Stage, receiver: WebhookReceiver): Promise<void> {
  const messages = (await api.listMessages(fetch.id)).map(({ id }) => eventId('message.received', id));
  for (const [path, id] of subscribed) {
    const expected = path === '/fetch' ? messages : [...messages, eventId('fetch.succeeded', fetch.id)];
    const list = async () => (await api.api('GET', `/v1/webhooks/${id}/deliveries?limit=100`)).json() as DeliveryPage;
    const { items } = await eventually(list, (page) => page.items.every(({ state }) => state === 'delivered'), WAIT_MS);
    expect(items.map((delivery) => delivery.eventId).toSorted()).toEqual(expected.toSorted());
    const came = receiver.received.filter((webhook) => webhook.path === path);
    expect(new Set(came.map(idOf))).toEqual(new Set(expected));
    for (const webhook of came) {
      const first = came.find((earlier) => idOf(earlier) === idOf(webhook))!;
      expect(contentOf(webhook)).toEqual(contentOf(first));
      if (path === '/fetch') new Webhook(SECRET).verify(webhook.body, webhook.headers as Record<string, string>);
    }
    if (path === '/ordered') expect([...new Set(came.map(idOf))]).toEqual(expected);
  }
  expect((await api.api('GET', `/v1/fetches/${fetch.id}`)).asFetch().webhook).toMatchObject({
    deliveries: { pending: 0, delivered: messages.length, failed: 0 },
    lastFailure: null,
  });
}

const idOf = ({ headers }: Pick<ReceivedWebhook, 'headers'>): string => String(headers['webhook-id']);

/**
 * The very bytes, but for what changes of a message meanwhile: the links to it, which are made anew for each attempt as they expire, and
 * when the other webhooks had all acknowledged it.
 */
function contentOf({ body }: ReceivedWebhook): string {
  const text = body.toString();
  const { type, data } = JSON.parse(text) as components['schemas']['Event'];
  if (type !== 'message.received') return text;
  expect(data.links).toBeDefined();
  return text.replace(JSON.stringify(data.links), '').replace(/"acknowledgedAt":(?:null|"[^"]+")/, '');
}

it(
  'killed when an endpoint has got a request and nobody has recorded it: the next worker sends the same under the same id',
  { timeout: 120_000 },
  async () => {
    const answered = Promise.withResolvers<void>();
    const receiver = await startWebhookReceiver({
      async answer() {
        await answered.promise;
        return 204;
      },
    });
    onTestFinished(() => receiver.close());
    const stage = await setStage(receiver, 3, false);
    // One of the ordered webhook, and all of the others.
    const held = await receiver.waitFor(1 + 4 + 3, WAIT_MS);
    expect(held).toHaveLength(8);
    answered.resolve();
    // What the dead one held runs out by itself.
    await stage.replaceWorker(false);
    await checkAll(stage, receiver);
    for (const { path, headers } of held) {
      const again = receiver.received.filter((webhook) => webhook.path === path && idOf(webhook) === idOf({ headers }));
      expect(again).toHaveLength(2);
    }
  },
);

it.each(readSeeds(1))(
  `killed at ${KILLS} points of many deliveries: every event comes to every webhook (CHAOS_SEED=%i)`,
  { timeout: 180_000 },
  async (seed) => {
    const random = seeded(seed * 7_919);
    const isFetched = Promise.withResolvers<void>();
    let left = Infinity;
    let killing = { begun: Promise.withResolvers<void>(), ended: Promise.withResolvers<void>() };
    const receiver = await startWebhookReceiver({
      limits: { keptMax: Infinity },
      async answer() {
        await isFetched.promise;
        left -= 1;
        if (left > 0) return 204;
        killing.begun.resolve();
        // Some are answered at the last moment, and others when there is nobody to hear it.
        if (pick(random, [true, false])) await killing.ended.promise;
        return 204;
      },
    });
    onTestFinished(() => receiver.close());
    const stage = await setStage(receiver, MAILS, true);
    left = 1 + Math.floor(random() * 16);
    isFetched.resolve();
    for (let kill = 1; kill <= KILLS; kill += 1) {
      await killing.begun.promise;
      await stage.replaceWorker(true);
      const { ended } = killing;
      killing = { begun: Promise.withResolvers<void>(), ended: Promise.withResolvers<void>() };
      left = kill < KILLS ? 1 + Math.floor(random() * 16) : Infinity;
      ended.resolve();
    }
    await checkAll(stage, receiver);
    expect(receiver.received.length).toBeGreaterThan(3 * MAILS);
  },
);
