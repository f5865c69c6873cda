/** What a fetch does about the slots of its host: run by `runFetch` itself, against real Redis and servers that are told what to do. */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFetchStore } from '../../src/fetch/fetch-store.ts';
import type { Fetch, FetchRef } from '../../src/fetch/fetch.ts';
import { createHostSlots } from '../../src/fetch/host-slots.ts';
import { createLeases } from '../../src/fetch/lease.ts';
import { circuitFailuresMax, circuitPauseMsMin, deadHostWaitMs, leaseRecheckMsMin } from '../../src/fetch/limits.ts';
import { createFetchQueue, FETCH_QUEUE } from '../../src/fetch/queue.ts';
import { runFetch, type FetchPorts, type NextCall } from '../../src/fetch/run.ts';
import { createFetchWorker } from '../../src/fetch/worker.ts';
import { maildropOf } from '../../src/mailbox/source.ts';
import { Pop3ConnectionError } from '../../src/pop3/index.ts';
import { isRedisUnavailable, openBlockingRedis, openRedis } from '../../src/redis/connection.ts';
import { hostKeys } from '../../src/redis/keys.ts';
import { announcements } from '../support/events.ts';
import { startFakePop3, type FakePop3, type FakePop3Options } from '../support/fake-pop3.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const WAIT_MS = 20_000;
const HOST = '127.0.0.1';
const KEYS = hostKeys(HOST);
const logger = pino({ level: 'silent' });
const running = { windUp: new AbortController().signal, cut: new AbortController().signal };

let redisServer: TestRedis;
let redis: Redis;
let ports: FetchPorts;
/** What the clock of workers and hosts is ahead by. */
let aheadMs: number;
let connections: number;
let isSilent: boolean;
let cleanups: (() => unknown)[];

beforeEach(async () => {
  cleanups = [];
  aheadMs = 0;
  connections = 10;
  isSilent = false;
  redisServer = await startRedis();
  cleanups.push(() => redisServer.close());
  redis = openRedis(redisServer.url, logger);
  await redis.connect();
  cleanups.push(() => redis.disconnect());
  const now = (): number => Date.now() + aheadMs;
  const unused = (): never => expect.fail('These maildrops are empty');
  ports = {
    clock: { now },
    resolve: async (host) => {
      if (isSilent) throw new Pop3ConnectionError('upstream_timeout', 'resolve', 'No answer in time');
      return [{ address: host, family: 4 }];
    },
    pipelining: { get: () => undefined, set: () => undefined },
    records: createFetchStore(redis),
    leases: createLeases(redis),
    hosts: createHostSlots(redis, { limitsOf: () => ({ connections, loginsPerSecond: 1000 }), random: () => 0, now }),
    credentials: { open: unused, replace: unused, delete: async () => undefined },
    logins: { open: async () => ({ secret: { password: 'p' }, renew: async () => null }) },
    mailboxes: {
      ledger: { released: unused, settleReleased: unused } as unknown as FetchPorts['mailboxes']['ledger'],
      find: unused,
      begin: unused,
      openCredentials: unused,
      replaceCredentials: unused,
      writeStatus: unused,
      planNext: unused,
    },
    messages: { write: unused, store: unused, checkQuota: unused, findHeld: async () => new Set() },
    parse: unused,
    announce: announcements(),
    durability: { begin: unused },
    isStorageAway: isRedisUnavailable,
    logger,
    uniqueId: randomUUID,
  };
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

async function fakeServer(options: FakePop3Options = {}): Promise<FakePop3> {
  const server = await startFakePop3(options);
  cleanups.push(() => server.close());
  return server;
}

let count = 0;
/** Each of another maildrop. */
async function create(server: FakePop3, tenant = 'a'): Promise<FetchRef> {
  count += 1;
  const ref = { tenant, id: `fch_${count}` };
  const source = { host: HOST, port: server.port, tls: 'none', username: `${tenant}-${count}` } as const;
  const request = {
    mailboxId: maildropOf(tenant, source),
    source,
    ca: null,
    delete: 'never',
    isDryRun: false,
  } as const;
  const limits = { messages: 10, bytes: 1e6, messageBytes: 1e6, seconds: 600 };
  const more = { isOfMailbox: false, firstFetch: 'all', limits, retentionMs: 3_600_000 } as const;
  await ports.records.create(ref, { ...request, ...more }, new Date(ports.clock.now()).toISOString());
  return ref;
}

const run = (ref: FetchRef): Promise<NextCall> => runFetch(ports, ref, running);
const find = async (ref: FetchRef): Promise<Fetch> => (await ports.records.find(ref))!;
const slots = (): Promise<number> => redis.zcard(KEYS.slots);

test('a host that is busy delays a fetch, which holds nothing meanwhile, and has made no attempt', async () => {
  connections = 1;
  const server = await fakeServer();
  const held = server.hold('UIDL');
  const first = run(await create(server));
  await held.reached;
  const ref = await create(server);
  const next = await run(ref);
  expect(next?.delayMs).toBeGreaterThanOrEqual(100);
  expect(await find(ref)).toMatchObject({ state: 'queued', attempts: 0, error: null });
  expect(server.connections).toBe(1);
  const { source } = await find(ref);
  expect(await ports.leases.acquire('a', maildropOf('a', source), 'another'), 'the maildrop is free').not.toBeNull();
  held.release();
  expect(await first).toBeNull();
});

test('a slot is given back when the session has ended, however it ended', async () => {
  connections = 1;
  const server = await fakeServer({ on: { PASS: () => '-ERR [AUTH] no' } });
  const failing = await create(server);
  expect(await run(failing)).toBeNull();
  expect(await find(failing)).toMatchObject({ state: 'failed', error: { code: 'upstream_auth_failed' } });
  expect(await slots()).toBe(0);
  const well = await create(await fakeServer());
  await run(well);
  expect((await find(well)).state).toBe('succeeded');
  expect(await slots()).toBe(0);
});

test('a session whose slot was lost ends, and the fetch is run again', async () => {
  const server = await fakeServer();
  const held = server.hold('UIDL');
  const ref = await create(server);
  const first = run(ref);
  await held.reached;
  await redis.del(KEYS.slots);
  expect(await first).toEqual({ delayMs: leaseRecheckMsMin });
  await server.idle();
  held.release();
  expect(await run(ref)).toBeNull();
  expect((await find(ref)).state).toBe('succeeded');
});

test('a slot is kept for as long as the session lasts', async () => {
  connections = 1;
  const server = await fakeServer();
  const held = server.hold('UIDL');
  const first = run(await create(server));
  await held.reached;
  const until = async (): Promise<number> => Number((await redis.zrange(KEYS.slots, 0, '-1', 'WITHSCORES'))[1]);
  const before = await until();
  await expect.poll(until, { timeout: WAIT_MS, interval: 20 }).toBeGreaterThan(before);
  held.release();
  await first;
});

test('a fetch that a dead worker left active is queued again while it waits for the host', async () => {
  connections = 1;
  const server = await fakeServer();
  const ref = await create(server);
  await ports.records.begin(ref, 1, new Date().toISOString());
  const held = server.hold('UIDL');
  const first = run(await create(server));
  await held.reached;
  expect(await run(ref)).not.toBeNull();
  expect(await find(ref)).toMatchObject({ state: 'queued', error: null });
  held.release();
  await first;
});

test('a port that does not answer is left alone: its fetches say so and hold no worker up, until a probe is answered', async () => {
  const server = await fakeServer();
  isSilent = true;
  for (let failure = 0; failure < circuitFailuresMax; failure += 1) {
    const ref = await create(server);
    await run(ref);
    expect(await find(ref)).toMatchObject({ state: 'failed', attempts: 1, error: { code: 'upstream_timeout' } });
  }
  isSilent = false;
  const ref = await create(server);
  const next = await run(ref);
  expect(next?.delayMs).toBeGreaterThanOrEqual(circuitPauseMsMin - 1_000);
  const error = { code: 'upstream_timeout', phase: 'connect', retryable: true, detail: expect.stringContaining(HOST) };
  expect(await find(ref)).toMatchObject({ state: 'queued', attempts: 0, error });
  expect(Date.parse((await find(ref)).error?.nextAttemptAt ?? '')).toBeGreaterThan(Date.now());
  expect(server.connections).toBe(0);

  aheadMs += circuitPauseMsMin;
  const held = server.hold('UIDL');
  const probe = run(ref);
  await held.reached;
  const others = await Promise.all([create(server), create(server)]);
  expect(await Promise.all(others.map(run)), 'once it has answered, all come').toEqual([null, null]);
  held.release();
  expect(await probe).toBeNull();
  expect(await find(ref)).toMatchObject({ state: 'succeeded', error: null });
});

test('a fetch waits ten minutes for such a port, and then fails as one that timed out', async () => {
  const server = await fakeServer();
  isSilent = true;
  const ref = await create(server);
  const beginnings = Array.from({ length: circuitFailuresMax }, () => create(server));
  for (const failing of await Promise.all(beginnings)) await run(failing);
  expect(await run(ref)).not.toBeNull();
  aheadMs += deadHostWaitMs;
  await run(await create(server)); // The probe, in vain.
  expect(await run(ref)).toBeNull();
  const error = { code: 'upstream_timeout', nextAttemptAt: null };
  expect(await find(ref)).toMatchObject({ state: 'failed', attempts: 1, error });
});

test('settings that nobody can connect with do not keep others from the host', async () => {
  const server = await fakeServer({ greeting: '* OK IMAP4rev1 ready' });
  for (let failure = 0; failure < circuitFailuresMax * 2; failure += 1) {
    const ref = await create(server);
    await run(ref);
    expect(await find(ref)).toMatchObject({ state: 'failed', error: { code: 'upstream_not_pop3' } });
  }
});

test('two hundred fetches of a tenant that wait for a host do not keep the one of another tenant', async () => {
  connections = 2;
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const users: string[] = [];
  const server = await fakeServer({
    on: {
      USER: (user) => {
        users.push(user.split('-')[0] ?? '');
        return undefined;
      },
      UIDL: async (_, { connection }) => {
        await gates[connection - 1]?.promise;
        return undefined;
      },
    },
  });
  const blocking = [openBlockingRedis(redisServer.url, logger), openBlockingRedis(redisServer.url, logger)];
  cleanups.push(() => blocking.forEach((connection) => connection.disconnect()));
  const queue = await createFetchQueue(redis, blocking[0]!, logger);
  cleanups.push(() => queue.close());
  for (let number = 0; number < 200; number += 1) await queue.add(await create(server, 'a'));
  await queue.add(await create(server, 'b'));
  const worker = await createFetchWorker<FetchRef>({
    queues: [FETCH_QUEUE],
    blocking: blocking[1]!,
    concurrency: 20,
    run: (ref, shutdown) => runFetch(ports, ref, shutdown),
    abandon: async () => undefined,
    clock: ports.clock,
    logger,
  });
  cleanups.push(() => worker.close(1_000));
  const waiting = (): Promise<string | null> => redis.zscore(KEYS.waiting, 'b');
  await expect.poll(waiting, { timeout: WAIT_MS, interval: 5 }).not.toBeNull();
  expect(users, 'all that there is room for').toEqual(['a', 'a']);
  gates[0]?.resolve();
  await server.received('USER', 3);
  expect(users[2]).toBe('b');
  gates[1]?.resolve();
});
