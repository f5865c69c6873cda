/** One host keeps no other from its fetches, and no host is asked for more than is allowed: over real processes on one Redis. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startFakePop3, type FakePop3, type FakePop3Options } from '../support/fake-pop3.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { startService, type FetchBody, type FetchRequestBody, type Service } from '../support/service.ts';

const MAILS = ['Subject: mail\r\n\r\nText.\r\n'];

async function fakeServer(options: FakePop3Options): Promise<FakePop3> {
  const server = await startFakePop3(options);
  onTestFinished(() => server.close());
  return server;
}

interface Fleet {
  api: Service;
  start(env?: Record<string, string>): Promise<Service>;
}

/** An API, and a way to start workers beside it, with these limits. */
async function startFleet(limits: Record<string, string>): Promise<Fleet> {
  const redis: TestRedis = await startRedis();
  onTestFinished(() => redis.close());
  const dataDir = await mkdtemp(join(tmpdir(), 'popbridge-fairness-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  const start = async (env: Record<string, string> = {}): Promise<Service> => {
    const service = await startService({ redis, dataDir, env: { ...limits, ...env } });
    onTestFinished(() => service.close());
    return service;
  };
  return { api: await start({ POPBRIDGE_ROLE: 'api' }), start };
}

function request({ port }: FakePop3, user: string | number, host = '127.0.0.1'): FetchRequestBody {
  return { source: { host, port, tls: 'none', username: `user-${user}`, password: 'p' } };
}

async function submit(api: Service, body: FetchRequestBody): Promise<FetchBody> {
  return (await api.api('POST', '/v1/fetches', { body })).asFetch();
}

async function waitForEnd(api: Service, { id }: FetchBody): Promise<FetchBody> {
  return (await api.api('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=60' } })).asFetch();
}

it(
  'a hundred fetches of a host that is slow do not keep the one of another host, which came last',
  { timeout: 120_000 },
  async () => {
    const { api, start } = await startFleet({
      POPBRIDGE_HOST_CONNECTIONS: '10',
      POPBRIDGE_HOST_LOGINS_PER_SECOND: '1000',
    });
    const gate = Promise.withResolvers<undefined>();
    const slow = await fakeServer({ mails: MAILS, on: { PASS: () => gate.promise } });
    const other = await fakeServer({ mails: MAILS });
    const slowOnes: FetchBody[] = [];
    for (let user = 0; user < 100; user += 1) slowOnes.push(await submit(api, request(slow, user)));
    const lastId = slowOnes.at(-1)?.id;
    await start({ POPBRIDGE_ROLE: 'worker' });
    await slow.received('PASS', 10);
    expect(await api.fetchMail(request(other, 'other', 'localhost'))).toMatchObject({
      state: 'succeeded',
      counts: { retrieved: 1 },
    });
    expect(slow.connections, 'and the slow one has all that it may have').toBe(10);
    expect((await api.api('GET', `/v1/fetches/${lastId}`)).asFetch()).toMatchObject({ state: 'queued', error: null });

    gate.resolve(undefined);
    const ended = await Promise.all(slowOnes.map((fetch) => waitForEnd(api, fetch)));
    expect(ended.map(({ state, attempts }) => `${state} ${attempts}`)).toEqual(slowOnes.map(() => 'succeeded 1'));
  },
);

it(
  'two workers together have no more sessions with a host than it allows, and the slots of one that is killed free themselves',
  { timeout: 120_000 },
  async () => {
    const { api, start } = await startFleet({
      POPBRIDGE_HOST_LIMITS: 'LOCALHOST=3/1000',
      POPBRIDGE_HOST_CONNECTIONS: '1',
    });
    let sessions = 0;
    let most = 0;
    const server = await fakeServer({
      mails: MAILS,
      on: {
        // From the login to the last command: a connection is closed by each side in its own time.
        USER: () => {
          sessions += 1;
          most = Math.max(most, sessions);
          return undefined;
        },
        QUIT: () => {
          sessions -= 1;
          return undefined;
        },
      },
    });
    const holds = [server.hold('UIDL'), server.hold('UIDL'), server.hold('UIDL')];
    const fetches: FetchBody[] = [];
    for (let user = 0; user < 60; user += 1) fetches.push(await submit(api, request(server, user, 'localhost')));
    const doomed = await start({ POPBRIDGE_ROLE: 'worker' });
    await Promise.all(holds.map(({ reached }) => reached));
    await doomed.kill('SIGKILL');
    await server.idle();
    for (const { release } of holds) release();
    sessions = 0;
    expect(most).toBe(3);

    await Promise.all([start({ POPBRIDGE_ROLE: 'worker' }), start({ POPBRIDGE_ROLE: 'worker' })]);
    const ended = await Promise.all(fetches.map((fetch) => waitForEnd(api, fetch)));
    expect(ended.filter(({ state }) => state !== 'succeeded')).toEqual([]);
    expect(most).toBe(3);
  },
);

it('a caller who waits for a fetch of a busy host hears how it ended', { timeout: 60_000 }, async () => {
  const { api, start } = await startFleet({ POPBRIDGE_HOST_CONNECTIONS: '1' });
  await start({ POPBRIDGE_ROLE: 'worker' });
  const server = await fakeServer({ mails: MAILS });
  const held = server.hold('UIDL');
  const first = await submit(api, request(server, 1));
  await held.reached;
  const waiting = api.api('POST', '/v1/fetches', { body: request(server, 2), headers: { prefer: 'wait=30' } });
  const impatient = await api.api('POST', '/v1/fetches', { body: request(server, 3), headers: { prefer: 'wait=1' } });
  expect([impatient.status, impatient.asFetch().state]).toEqual([202, 'queued']);
  expect(server.connections).toBe(1);
  held.release();
  expect((await waiting).asFetch()).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
  expect((await waitForEnd(api, first)).state).toBe('succeeded');
});
