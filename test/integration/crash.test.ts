/** Promise 1 and 2: killed at any point and started again, the service finishes with nothing lost and no id changed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startWebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { startRedis } from '../support/redis.ts';
import { eventually, startService, type FetchBody, type FetchRequestBody, type Service } from '../support/service.ts';

const MAILS = Array.from({ length: 8 }, (_, n) => Buffer.from(`Subject: mail ${n}\r\n\r\n${'text '.repeat(n)}\r\n`));
const SECRET = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;

async function fakeServer(): Promise<FakePop3> {
  const server = await startFakePop3({ mails: MAILS });
  onTestFinished(() => server.close());
  return server;
}

async function dataFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-crash-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  return folder;
}

/** On a port that stays the same, as its mailbox id depends on it. */
function request(server: FakePop3, more: Partial<FetchRequestBody> = {}): FetchRequestBody {
  const source = { host: server.host, port: server.port, tls: 'none', username: 'u', password: 'p' };
  return { source, ...more } as FetchRequestBody;
}

async function submit(service: Service, body: FetchRequestBody): Promise<FetchBody> {
  return (await service.api('POST', '/v1/fetches', { body })).asFetch();
}

async function waitForEnd(service: Service, id: string): Promise<FetchBody> {
  return (await service.api('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=60' } })).asFetch();
}

describe('SIGKILL and a restart', () => {
  it(
    'in the middle of a message, then while deleting, then before QUIT is answered: every mail is there once, under one id',
    { timeout: 180_000 },
    async () => {
      const server = await fakeServer();
      const dataDir = await dataFolder();
      const receiver = await startWebhookReceiver();
      onTestFinished(() => receiver.close());
      let service = await startService({ dataDir });
      onTestFinished(() => service.close());

      // What the ids are when nothing goes wrong.
      const calm = await service.fetchMail(request(server));
      const ids = (await service.listMessages(calm.id)).map(({ id }) => id);

      const crashing = request(server, { delete: 'stored', webhook: { url: receiver.url, secret: SECRET } });
      let held = server.hold('RETR 5');
      const { id } = await submit(service, crashing);
      for (const next of ['DELE 3', 'QUIT', null]) {
        await held.reached;
        const running = service;
        const progress = async () => (await running.api('GET', `/v1/fetches/${id}`)).asFetch().counts.retrieved;
        await eventually(progress, (retrieved) => retrieved === (next === 'DELE 3' ? 4 : MAILS.length));
        expect(await service.kill('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
        held.release();
        if (next) held = server.hold(next);
        service = await startService({ dataDir });
      }
      const ended = await waitForEnd(service, id);

      expect(ended).toMatchObject({
        state: 'succeeded',
        error: null,
        deletion: 'confirmed',
        counts: { listed: MAILS.length, retrieved: MAILS.length, failed: 0, deleted: MAILS.length },
      });
      expect(server.mails).toEqual([]);
      const messages = await service.listMessages(id);
      expect(messages.map((message) => message.id)).toEqual(ids);
      const raws = await Promise.all(ids.map((message) => service.api('GET', `/v1/messages/${message}/raw`)));
      expect(raws.map(({ text }) => text)).toEqual(MAILS.map(String));
      // RETR 5 was interrupted, and those pipelined behind it are asked for again. What was committed is not.
      const retrievals = server.commands.filter((line) => line.startsWith('RETR')).slice(MAILS.length);
      expect(retrievals).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8].map((n) => `RETR ${n}`));
      const delivered = await receiver.waitFor(MAILS.length, 30_000);
      expect(new Set(delivered.map(({ headers }) => headers['webhook-id'])).size).toBe(MAILS.length);
    },
  );
});

describe('SIGTERM', () => {
  it('lets a running fetch finish, answers who waits, and exits 0', async () => {
    const server = await fakeServer();
    const service = await startService();
    onTestFinished(() => service.close());
    const held = server.hold('RETR 2');
    const body = request(server);
    const waiting = service.api('POST', '/v1/fetches', { body, headers: { prefer: 'wait=60' } });
    await held.reached;
    const exit = service.kill('SIGTERM');
    expect((await waiting).asFetch().state, 'the wait is cut short').toBe('active');
    held.release();
    expect(await exit).toEqual({ code: 0, signal: null });
    expect(service.logs().find(({ state }) => state !== undefined)).toMatchObject({ state: 'succeeded' });
    expect(server.commands.at(-1)).toBe('QUIT');
  });

  it(
    'puts back a fetch that does not finish in time, and the next start goes on with it',
    { timeout: 60_000 },
    async () => {
      const server = await fakeServer();
      const dataDir = await dataFolder();
      const env = { POPBRIDGE_SHUTDOWN_SECONDS: '1' };
      const first = await startService({ dataDir, env });
      onTestFinished(() => first.close());
      const held = server.hold('RETR 4');
      const { id } = await submit(first, request(server));
      await held.reached;
      expect(await first.kill('SIGTERM')).toEqual({ code: 0, signal: null });
      held.release();

      const second = await startService({ dataDir, env });
      onTestFinished(() => second.close());
      expect(await waitForEnd(second, id)).toMatchObject({ state: 'succeeded', attempts: 2, counts: { retrieved: 8 } });
      expect(server.commands.filter((line) => line === 'RETR 3')).toHaveLength(1);
    },
  );

  it(
    'leaves no fetch active behind: what was put back can be cancelled without a worker',
    { timeout: 60_000 },
    async () => {
      const server = await fakeServer();
      const dataDir = await dataFolder();
      const first = await startService({ dataDir, env: { POPBRIDGE_SHUTDOWN_SECONDS: '1' } });
      onTestFinished(() => first.close());
      const held = server.hold('RETR 4');
      const { id } = await submit(first, request(server));
      await held.reached;
      await first.kill('SIGTERM');
      held.release();

      const api = await startService({ dataDir, env: { POPBRIDGE_ROLE: 'api' } });
      onTestFinished(() => api.close());
      expect((await api.api('GET', `/v1/fetches/${id}`)).asFetch()).toMatchObject({ state: 'queued', error: null });
      expect((await api.api('DELETE', `/v1/fetches/${id}`)).asFetch().state).toBe('cancelled');
    },
  );
});

describe('Redis', () => {
  it(
    'gone while running: the API answers 503 at once, and the worker goes on where it was once Redis is back',
    { timeout: 90_000 },
    async () => {
      const redis = await startRedis();
      onTestFinished(() => redis.close());
      const server = await fakeServer();
      const service = await startService({ redis });
      onTestFinished(() => service.close());
      const held = server.hold('RETR 3');
      const { id } = await submit(service, request(server, { delete: 'stored' }));
      await held.reached;
      await redis.kill('SIGKILL');

      const started = performance.now();
      const refused = await service.api('POST', '/v1/fetches', { body: request(server) });
      expect(refused.status).toBe(503);
      expect(refused.headers['retry-after']).toBeDefined();
      expect(performance.now() - started, 'at once').toBeLessThan(2_000);
      expect((await service.api('GET', '/readyz')).status).toBe(503);
      expect((await service.api('GET', '/livez')).status).toBe(200);
      held.release();

      await redis.restart();
      await service.ready();
      const ended = await waitForEnd(service, id);
      expect(ended).toMatchObject({ state: 'succeeded', counts: { retrieved: 8, deleted: 8 } });
      expect(server.mails).toEqual([]);
      expect(await service.listMessages(id)).toHaveLength(8);
    },
  );

  it('not there at the start: the process says so and ends', async () => {
    const redis = await startRedis();
    await redis.kill('SIGKILL');
    onTestFinished(() => redis.close());
    await expect(startService({ redis })).rejects.toThrow(/Redis at .* cannot be reached/);
  });
});
