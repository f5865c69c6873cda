/** SIGTERM to a worker at work, beside an API and another worker: what it leaves behind is in order, and others go on with it at once. */
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { parseMetrics, sumOf } from '../support/metrics.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, send, startService, type FetchBody, type Service } from '../support/service.ts';

const MAILS = Array.from({ length: 8 }, (_, n) => `Subject: mail ${n + 1}\r\n\r\nText.\r\n`);
const ALL = MAILS.map((_, n) => `mail ${n + 1}`);
/** Sessions are wound up after two fifths of them, and cut after four. */
const DRAIN_SECONDS = '10';

let redis: TestRedis;
let inside: Redis;
let api: Service;
let server: FakePop3;
let workers: Service[];

beforeEach(async () => {
  redis = await startRedis();
  inside = new Redis(redis.socketPath);
  workers = [];
  api = await startService({ redis, env: { POPBRIDGE_ROLE: 'api' } });
  // Without pipelining, so that a message that was not asked for is one that the server knows nothing of.
  server = await startFakePop3({ mails: MAILS, capabilities: ['UIDL', 'USER'] });
});
afterEach(async () => {
  for (const service of [...workers, api]) await service.close();
  await server.close();
  inside.disconnect();
  await redis.close();
});

async function startWorker(): Promise<Service> {
  const env = { POPBRIDGE_ROLE: 'worker', POPBRIDGE_SHUTDOWN_SECONDS: DRAIN_SECONDS, POPBRIDGE_METRICS_PORT: '0' };
  const worker = await startService({ redis, dataDir: api.dataDir, env });
  workers.push(worker);
  return worker;
}

const sourceOf = (username: string) =>
  ({ host: server.host, port: server.port, tls: 'none', username, password: 'p' }) as const;
const submit = async (username: string): Promise<FetchBody> =>
  (await api.api('POST', '/v1/fetches', { body: { source: sourceOf(username) } })).asFetch();
const look = async ({ id }: FetchBody): Promise<FetchBody> => (await api.api('GET', `/v1/fetches/${id}`)).asFetch();
const waitForEnd = async ({ id }: FetchBody): Promise<FetchBody> =>
  (await api.api('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=30' } })).asFetch();
/** The client has the next command ready before it has the answer to the one before. */
const AHEAD = 1;
/** How many such commands the first session has sent before its QUIT, which came last. */
function countAsked(command: string): number {
  const lines = server.lines.filter(({ connection }) => connection === 1).map(({ line }) => line);
  expect(lines.at(-1)).toBe('QUIT');
  return lines.filter((line) => line.startsWith(command)).length;
}
const subjectsOf = async ({ id }: FetchBody): Promise<(string | null)[]> =>
  (await api.listMessages(id)).map(({ subject }) => subject);

/** What keeps other workers from a maildrop, or from its server. */
async function heldKeys(): Promise<string[]> {
  const slots = await inside.keys('pb:*:slots');
  const leases = await inside.keys('pb:*:lease');
  const taken = await Promise.all(slots.map(async (key) => ((await inside.zcard(key)) > 0 ? [key] : [])));
  return [...leases, ...taken.flat()];
}

async function countContention(worker: Service): Promise<number> {
  const { url } = (await worker.logged('Metrics served')) as unknown as { url: string };
  const { bytes } = await send(url, 'GET', '/metrics', {});
  return sumOf(parseMetrics(bytes.toString()), 'popbridge_lease_contention_total');
}

it('a session finishes the message that it is at, says QUIT and lets its maildrop go; no job is begun; another worker goes on where it was', async () => {
  const worker = await startWorker();
  const held = server.hold('RETR 3');
  const running = await submit('one');
  await held.reached;
  expect((await heldKeys()).length, 'a lease and a slot').toBe(2);

  const exit = worker.kill('SIGTERM');
  const ready = await eventually(
    () => worker.api('GET', '/readyz'),
    ({ status }) => status === 503,
  );
  expect(ready.json()).toMatchObject({ checks: { shutdown: 'stopping' } });
  const waiting = await submit('two');
  await worker.logged('Winding up: sessions finish the messages that they have asked for');
  expect((await worker.api('GET', '/livez')).status, 'nobody is to kill it').toBe(200);
  expect((await worker.api('GET', '/readyz')).status).toBe(503);
  held.release();
  expect(await exit).toEqual({ code: 0, signal: null });

  const retrieved = countAsked('RETR');
  expect(retrieved).toBeLessThanOrEqual(3 + AHEAD);
  expect(await heldKeys()).toEqual([]);
  expect(server.connections, 'what was asked for meanwhile was not begun').toBe(1);
  expect(await look(running)).toMatchObject({ state: 'queued', error: null, counts: { retrieved } });
  expect(await look(waiting)).toMatchObject({ state: 'queued', attempts: 0 });

  const next = await startWorker();
  expect(await waitForEnd(running)).toMatchObject({ state: 'succeeded', attempts: 2, counts: { retrieved: 8 } });
  expect(await waitForEnd(waiting)).toMatchObject({ state: 'succeeded', attempts: 1, counts: { retrieved: 8 } });
  expect(await subjectsOf(running)).toEqual(ALL);
  expect(
    server.commands.filter((line) => line === 'RETR 3'),
    'one for each maildrop',
  ).toHaveLength(2);
  expect(await countContention(next), 'nothing was waited for').toBe(0);
}, 180_000);

it('a session of a mailbox that deletes stops after the message that it is at, and QUIT makes that real; another one deletes the rest', async () => {
  const worker = await startWorker();
  const held = server.hold('DELE 2');
  const mailbox = await api.api('POST', '/v1/mailboxes', { body: { source: sourceOf('one'), delete: 'stored' } });
  const { id } = mailbox.json() as { id: string };
  const running = (await api.api('POST', `/v1/mailboxes/${id}/fetches`)).asFetch();
  await held.reached;
  const exit = worker.kill('SIGTERM');
  await worker.logged('Winding up: sessions finish the messages that they have asked for');
  held.release();
  expect(await exit).toEqual({ code: 0, signal: null });

  const deleted = countAsked('DELE');
  expect(deleted).toBeLessThanOrEqual(2 + AHEAD);
  expect(server.mails).toHaveLength(MAILS.length - deleted);
  expect(await look(running)).toMatchObject({ state: 'queued', counts: { deleted }, deletion: 'confirmed' });
  await startWorker();
  expect(await waitForEnd(running)).toMatchObject({
    state: 'succeeded',
    counts: { deleted: 8 },
    deletion: 'confirmed',
  });
  expect(server.mails).toEqual([]);
  expect(server.commands.filter((line) => line.startsWith('RETR'))).toHaveLength(MAILS.length);
  expect(await subjectsOf(running)).toEqual(ALL);
  expect((await api.api('GET', `/v1/mailboxes/${id}`)).json()).toMatchObject({ state: 'ok', failure: null });
}, 180_000);

it('a session whose server does not get on is cut before the grace is over, and lets its maildrop go as well', async () => {
  const worker = await startWorker();
  const held = server.hold('RETR 3');
  const running = await submit('one');
  await held.reached;
  expect(await worker.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(await heldKeys()).toEqual([]);
  expect(await look(running)).toMatchObject({ state: 'queued', error: null, counts: { retrieved: 2 } });
  held.release();

  const next = await startWorker();
  expect(await waitForEnd(running)).toMatchObject({ state: 'succeeded', attempts: 2, counts: { retrieved: 8 } });
  expect(await subjectsOf(running)).toEqual(ALL);
  expect(await countContention(next)).toBe(0);
}, 180_000);

it('a fetch that is done in time ends by itself', async () => {
  const worker = await startWorker();
  const held = server.hold('RETR 3');
  const running = await submit('one');
  await held.reached;
  const exit = worker.kill('SIGTERM');
  await worker.logged('Stopping');
  held.release();
  expect(await exit).toEqual({ code: 0, signal: null });
  expect(await look(running)).toMatchObject({ state: 'succeeded', attempts: 1, counts: { retrieved: 8 } });
  expect(await heldKeys()).toEqual([]);
}, 180_000);
