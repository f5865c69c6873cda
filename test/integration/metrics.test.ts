/** The metrics, and the log, of the real program: an API and a worker on one Redis, after a run in which everything has a name that must not get out. */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { MAILBOX_QUEUES } from '../../src/fetch/mailbox-queues.ts';
import { shardOf } from '../../src/fetch/shard.ts';
import { dueKeys } from '../../src/redis/keys.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { METRICS, type MetricSpec } from '../../src/telemetry/metric-list.ts';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { parseMetrics, sumOf, type Sample } from '../support/metrics.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, send, startService, type FetchBody, type Service } from '../support/service.ts';

const SPECS: readonly MetricSpec[] = METRICS;
/** In every place where a user can write something. */
const planted = 'planted7q3x';
const broken = `From: ${planted}@example.com\r\nSubject: ${planted}\r\nContent-Type: text/plain; charset=${planted}\r\n\r\n${planted}\r\n`;
const CONTRACT = parse(readFileSync(new URL('../../openapi/openapi.yaml', import.meta.url), 'utf8')) as {
  paths: object;
};
const ROUTES = new Set(Object.keys(CONTRACT.paths));
const PARSE_WARNINGS = /^[a-z]+(_[a-z]+)+$/;

let redis: TestRedis;
let api: Service;
let worker: Service;
let pop3: FakePop3;
let receiver: WebhookReceiver;

beforeAll(async () => {
  redis = await startRedis();
  const env = { POPBRIDGE_METRICS_PORT: '0' };
  api = await startService({ redis, env: { ...env, POPBRIDGE_ROLE: 'api' } });
  worker = await startService({ redis, dataDir: api.dataDir, env: { ...env, POPBRIDGE_ROLE: 'worker' } });
  receiver = await startWebhookReceiver();
  pop3 = await startFakePop3({
    mails: ['Subject: one\r\n\r\n1\r\n', broken],
    on: {
      PASS: (args, session) => {
        if (args !== 'right') return `-ERR [AUTH] ${planted}`;
        session.logIn();
        return '+OK';
      },
    },
  });
});

afterAll(async () => {
  await worker?.close();
  await api?.close();
  await pop3?.close();
  await receiver?.close();
  await redis?.close();
});

async function scrape(service: Service): Promise<{ text: string; samples: Sample[] }> {
  const { url } = (await service.logged('Metrics served')) as unknown as { url: string };
  const { status, headers, bytes } = await send(url, 'GET', '/metrics', {});
  expect([status, headers['content-type']]).toEqual([200, expect.stringContaining('text/plain')]);
  const text = bytes.toString();
  return { text, samples: parseMetrics(text) };
}

const sourceWith = (password: string) => ({
  host: pop3.host,
  port: pop3.port,
  tls: 'none',
  username: planted,
  password,
});

it(
  'after a run each metric has its values, by labels of closed lists alone, and no word of any user',
  { timeout: 60_000 },
  async () => {
    await api.api('POST', '/v1/webhooks', { body: { url: `${receiver.url}/${planted}`, description: planted } });
    const done = await api.fetchMail({ source: sourceWith('right') as never });
    expect(done).toMatchObject({ state: 'succeeded', counts: { retrieved: 2 } });
    expect((await api.fetchMail({ source: sourceWith(planted) as never })).error?.code).toBe('upstream_auth_failed');
    const made = await api.api('POST', '/v1/mailboxes', {
      body: { source: sourceWith('right'), name: planted, schedule: { every: '30s' } },
    });
    const { id } = made.json() as { id: string };
    await api.api('POST', `/v1/mailboxes/${id}/fetches`, { headers: { prefer: 'wait=30' } });
    await api.api('GET', `/v1/fetches/fch_${planted}`);
    await api.api('GET', `/${planted}`);
    await api.api('PUT', `/v1/fetches/${planted}`);
    await fetch(`${api.url}/v1/mailboxes`, { method: planted });
    await receiver.waitFor(2, 20_000);
    const inside = new Redis(redis.socketPath);
    onTestFinished(() => inside.disconnect());

    // Fetched by its schedule once, and the deliveries recorded.
    const both = await eventually(
      async () => {
        // Again, as the fetch above plans the next one when it has ended.
        await inside.zadd(dueKeys(shardOf(id)).mailboxes, Date.now(), `default/${id}`);
        return [...(await scrape(worker)).samples, ...(await scrape(api)).samples];
      },
      (samples) =>
        sumOf(samples, 'popbridge_schedule_lag_seconds_count') > 0 &&
        sumOf(samples, 'popbridge_deliveries_total', { outcome: 'delivered' }) >= 2,
      45_000,
    );
    expect(sumOf(both, 'popbridge_http_requests_total', { method: 'POST', route: '/v1/fetches', status: '200' })).toBe(
      2,
    );
    expect(sumOf(both, 'popbridge_http_requests_total', { route: 'none', status: '404' })).toBe(1);
    expect(
      sumOf(both, 'popbridge_http_requests_total', { method: 'PUT', route: '/v1/fetches/{fetchId}', status: '405' }),
    ).toBe(1);
    expect(sumOf(both, 'popbridge_fetches_total', { outcome: 'failed', code: 'upstream_auth_failed' })).toBe(1);
    expect(sumOf(both, 'popbridge_messages_total', { outcome: 'stored' })).toBeGreaterThanOrEqual(2);
    expect(sumOf(both, 'popbridge_message_bytes_total')).toBeGreaterThan(broken.length);
    expect(sumOf(both, 'popbridge_parse_warnings_total', { code: 'charset_unsupported' })).toBeGreaterThan(0);
    for (const phase of ['connect', 'login', 'list', 'retrieve', 'delete']) {
      expect(sumOf(both, 'popbridge_session_phase_seconds_count', { phase })).toBeGreaterThan(0);
    }
    expect(
      sumOf(both, 'popbridge_blob_operation_seconds_count', { operation: 'write', outcome: 'ok' }),
    ).toBeGreaterThan(0);

    for (const { name, labels } of both.filter((sample) => sample.name.startsWith('popbridge_'))) {
      const spec = SPECS.find((one) => one.name === name.replace(/_(bucket|sum|count)$/, '') || one.name === name);
      expect(spec, name).toBeDefined();
      for (const [label, value] of Object.entries(labels)) {
        if (label === 'le') continue;
        expect(isListed(spec!.labels[label], value), `${name} ${label}=${value}`).toBe(true);
      }
    }
    const texts = [(await scrape(worker)).text, (await scrape(api)).text];
    expect(texts.join('')).not.toContain(planted);
    const served = new Set([...texts.join('').matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name));
    expect(SPECS.map(({ name }) => name).filter((name) => !served.has(name))).toEqual([]);
    expect(served).toContain('nodejs_eventloop_lag_p99_seconds');
  },
);

function isListed(values: MetricSpec['labels'][string] | undefined, value: string): boolean {
  if (Array.isArray(values)) return values.includes(value);
  switch (values as unknown) {
    case 'routes':
      return value === 'none' || ROUTES.has(value);
    case 'statuses':
      return /^[1-5]\d\d$/.test(value);
    case 'warnings':
      return PARSE_WARNINGS.test(value);
    case 'queues':
      return /^(fetch|mailboxes-\d)$/.test(value);
    default:
      return false;
  }
}

it(
  'states of mailboxes and webhooks are counted as they change, and by one process alone',
  { timeout: 60_000 },
  async () => {
    const states = async (name: string): Promise<Record<string, number>> => {
      const samples = [...(await scrape(worker)).samples, ...(await scrape(api)).samples];
      return Object.fromEntries(
        samples.filter((one) => one.name === name).map(({ labels, value }) => [labels['state'], value]),
      );
    };
    const before = (await api.api('GET', '/v1/mailboxes')).json() as { items: { state: string; failure: unknown }[] };
    expect(before.items).toMatchObject([{ state: 'ok', failure: null }]);
    const none = { retrying: 0, needs_credentials: 0, blocked: 0, paused: 0 };
    expect(await states('popbridge_mailboxes')).toEqual({ ...none, ok: 1 });
    const [worker1, api1] = [(await scrape(worker)).text, (await scrape(api)).text];
    expect([worker1, api1].filter((text) => text.includes('popbridge_mailboxes{'))).toHaveLength(1);

    const made = await api.api('POST', '/v1/mailboxes', {
      body: { source: { ...sourceWith('wrong'), username: 'other' } },
    });
    const { id } = made.json() as { id: string };
    const fetchIt = async (): Promise<FetchBody> =>
      (await api.api('POST', `/v1/mailboxes/${id}/fetches`, { headers: { prefer: 'wait=30' } })).asFetch();
    await fetchIt();
    expect(await states('popbridge_mailboxes')).toEqual({ ...none, ok: 1, retrying: 1 });
    await fetchIt();
    await fetchIt();
    expect(await states('popbridge_mailboxes')).toEqual({ ...none, ok: 1, needs_credentials: 1 });
    await api.api('PATCH', `/v1/mailboxes/${id}`, { body: { paused: true } });
    expect(await states('popbridge_mailboxes')).toEqual({ ...none, ok: 1, paused: 1 });
    await api.api('PATCH', `/v1/mailboxes/${id}`, { body: { paused: false, source: { password: 'right' } } });
    expect(await states('popbridge_mailboxes')).toEqual({ ...none, ok: 2 });
    await api.api('PATCH', `/v1/mailboxes/${id}`, { body: { paused: true } });
    await api.api('DELETE', `/v1/mailboxes/${id}`);
    expect(await states('popbridge_mailboxes')).toEqual({ ...none, ok: 1 });

    const hook = await api.api('POST', '/v1/webhooks', { body: { url: receiver.url } });
    const { webhook } = hook.json() as { webhook: { id: string } };
    expect(await states('popbridge_webhooks')).toEqual({ ok: 2, open: 0, disabled: 0 });
    await api.api('PATCH', `/v1/webhooks/${webhook.id}`, { body: { disabled: true } });
    expect(await states('popbridge_webhooks')).toEqual({ ok: 1, open: 0, disabled: 1 });
    await api.api('DELETE', `/v1/webhooks/${webhook.id}`);
    expect(await states('popbridge_webhooks')).toEqual({ ok: 1, open: 0, disabled: 0 });
  },
);

it('a fetch that finds its maildrop held by another one is counted', { timeout: 60_000 }, async () => {
  const held = pop3.hold('UIDL');
  const source = { ...sourceWith('right'), username: 'both' };
  const submit = async (): Promise<string> => (await api.api('POST', '/v1/fetches', { body: { source } })).asFetch().id;
  const ids = [await submit(), await submit()];
  await held.reached;
  const count = async (): Promise<number> => sumOf((await scrape(worker)).samples, 'popbridge_lease_contention_total');
  await eventually(count, (contended) => contended > 0, 20_000);
  held.release();
  for (const id of ids) {
    const ended = await api.api('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=30' } });
    expect(ended.asFetch().state).toBe('succeeded');
  }
});

it('the log leads from a request to the fetch that it has made, and on to the worker, by ids', async () => {
  const made = await api.api('POST', '/v1/fetches', {
    body: { source: { ...sourceWith('right'), username: 'logged' } },
    headers: { prefer: 'wait=30' },
  });
  const { id } = made.asFetch();
  const requests = await eventually(
    async () => api.logs().filter(({ requestId }) => requestId === made.headers['x-request-id']),
    (lines) => lines.length > 0,
  );
  expect(requests).toMatchObject([{ tenant: 'default', location: `/v1/fetches/${id}`, status: 200 }]);
  const worked = await eventually(
    async () => worker.logs().filter(({ fetchId }) => fetchId === id),
    (lines) => lines.length > 0,
  );
  expect(worked).toMatchObject([{ tenant: 'default', state: 'succeeded', msg: 'Fetch attempt ended' }]);
});

it(
  'what waits is told of each queue and shard, with how long it has, and how full Redis is',
  { timeout: 60_000 },
  async () => {
    const own = await startRedis();
    onTestFinished(() => own.close());
    // Without a worker, so that it stays as it is.
    const alone = await startService({ redis: own, env: { POPBRIDGE_METRICS_PORT: '0', POPBRIDGE_ROLE: 'api' } });
    onTestFinished(() => alone.close());
    const inside = new Redis(own.socketPath);
    onTestFinished(() => inside.disconnect());
    const before = (await scrape(alone)).samples;
    expect(sumOf(before, 'popbridge_schedule_oldest_due_seconds')).toBe(0);
    expect(sumOf(before, 'popbridge_queue_jobs')).toBe(0);
    expect(sumOf(before, 'popbridge_redis_memory_bytes')).toBeGreaterThan(500_000);
    expect(sumOf(before, 'popbridge_redis_memory_max_bytes')).toBe(0);

    const made = await alone.api('POST', '/v1/mailboxes', {
      body: { source: sourceWith('right'), schedule: { every: '1h' } },
    });
    const { id } = made.json() as { id: string };
    await inside.zadd(dueKeys(shardOf(id)).mailboxes, Date.now() - 600_000, `default/${id}`);
    for (const username of ['a', 'b', 'c']) {
      await alone.api('POST', '/v1/fetches', { body: { source: { ...sourceWith('right'), username } } });
    }
    await inside.config('SET', 'maxmemory', 64 * 1024 * 1024);
    const { samples } = await scrape(alone);
    const oldest = sumOf(samples, 'popbridge_schedule_oldest_due_seconds');
    expect(oldest).toBeGreaterThanOrEqual(600);
    expect(oldest).toBeLessThan(700);
    expect(sumOf(samples, 'popbridge_queue_jobs', { queue: 'fetch', state: 'waiting' })).toBe(3);
    expect(sumOf(samples, 'popbridge_queue_jobs')).toBe(3);
    const queues = new Set(
      samples.filter(({ name }) => name === 'popbridge_queue_jobs').map(({ labels }) => String(labels['queue'])),
    );
    expect([...queues].toSorted()).toEqual(['fetch', ...MAILBOX_QUEUES].toSorted());
    expect(sumOf(samples, 'popbridge_redis_memory_max_bytes')).toBe(64 * 1024 * 1024);
    const route = { method: 'POST', route: '/v1/fetches' };
    expect(sumOf(samples, 'popbridge_http_request_duration_seconds_count', route)).toBe(3);
  },
);

it('the process that serves what all share leaves that to another when it stops', async () => {
  const isServing = async (service: Service): Promise<boolean> =>
    (await scrape(service)).text.includes('popbridge_mailboxes{');
  const [serving, other] = (await isServing(worker)) ? [worker, api] : [api, worker];
  expect(await isServing(other)).toBe(false);
  expect(await serving.kill('SIGTERM')).toMatchObject({ code: 0 });
  expect(await isServing(other)).toBe(true);
});
