import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AppError } from '../../src/errors.ts';
import {
  connectRedis,
  isRedisUnavailable,
  openBlockingRedis,
  openPatientRedis,
  openRedis,
} from '../../src/redis/connection.ts';
import { defineScript } from '../../src/redis/script.ts';
import { redisServerPath, startRedis, type TestRedis } from '../support/redis.ts';
import { replicate } from '../support/replication.ts';
import { startTcpSwitch } from '../support/tcp-switch.ts';

/** Far below the time-outs: a command that fails "at once" waits for nothing. */
const AT_ONCE_MS = 500;
const NOWHERE = join(tmpdir(), 'popbridge-test-nowhere.sock');
const silent = pino({ level: 'silent' });

let server: TestRedis;
let redis: Redis;
let cleanups: (() => unknown)[];

beforeEach(async () => {
  cleanups = [];
  server = await startRedis();
  cleanups.push(() => server.close());
  redis = openRedis(server.url, silent);
  cleanups.push(() => redis.disconnect());
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

const countUp = defineScript(`return redis.call('INCR', KEYS[1])`);

/** Each way in which stores talk to Redis. */
const commands: Record<string, (redis: Redis) => Promise<unknown>> = {
  'a read': (redis) => redis.get('key'),
  'a write': (redis) => redis.set('key', 'value'),
  'a transaction': (redis) => redis.multi().hset('hash', { a: '1' }).pexpire('hash', 1000).exec(),
  'a script': (redis) => countUp(redis, ['counter'], []),
  'a ping': (redis) => redis.ping(),
};

async function failure(command: Promise<unknown>): Promise<unknown> {
  return command.then(
    (value) => expect.fail(`It was answered: ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
}

async function expectUnavailable(redis: Redis, withinMs = AT_ONCE_MS): Promise<void> {
  for (const [name, run] of Object.entries(commands)) {
    const startedAt = performance.now();
    const error = await failure(run(redis));
    expect(performance.now() - startedAt, name).toBeLessThan(withinMs);
    expect(isRedisUnavailable(error), `${name}: ${String(error)}`).toBe(true);
  }
}

async function expectWell(redis: Redis): Promise<void> {
  await expect.poll(() => redis.ping().catch(() => 'no'), { timeout: 5_000, interval: 20 }).toBe('PONG');
  for (const run of Object.values(commands)) await run(redis);
}

/** A connection to a server of its own that takes half a second to load what it holds, and is about to do so. */
async function startLoadingRedis(): Promise<Redis> {
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'redis.sock');
  const settings = ['--port', '0', '--unixsocket', socketPath, '--dir', folder, '--enable-debug-command', 'local'];
  const child = spawn(await redisServerPath(), [...settings, '--save', '', '--key-load-delay', '2000'], {
    stdio: 'ignore',
  });
  cleanups.push(async () => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  const loading = openRedis(socketPath, silent);
  await expect.poll(() => loading.ping().catch(() => 'no'), { timeout: 5_000, interval: 20 }).toBe('PONG');
  await loading.config('SET', 'loading-process-events-interval-bytes', 1_024);
  for (let number = 0; number < 250; number += 1) await loading.set(`key${number}`, randomBytes(1_000));
  const reloading = openBlockingRedis(socketPath, silent);
  cleanups.push(() => reloading.disconnect());
  await reloading.ping();
  reloading.call('DEBUG', 'RELOAD').catch(() => {});
  return loading;
}

/** The same server by TCP. */
async function listenOnTcp(): Promise<number> {
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const { port } = free.address() as AddressInfo;
  await new Promise((resolve) => free.close(resolve));
  await redis.config('SET', 'port', port);
  return port;
}

describe('while Redis is away, every command fails at once, in a way that is recognised', () => {
  test('down from the start', async () => {
    const nowhere = openRedis(NOWHERE, silent);
    cleanups.push(() => nowhere.disconnect());
    await expectUnavailable(nowhere);
  });

  test('killed midway, with a command under way; all is well again when it is back', async () => {
    await redis.connect();
    await expectWell(redis);
    const underWay = failure(redis.blpop('never', 0));
    const startedAt = performance.now();
    await server.kill();
    expect(isRedisUnavailable(await underWay)).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(AT_ONCE_MS);
    await expectUnavailable(redis);
    await server.restart();
    await expectWell(redis);
  });

  test('frozen: a command fails after its time limit; all is well again when it goes on', async () => {
    await redis.connect();
    redis.options.commandTimeout = 150;
    process.kill(server.pid, 'SIGSTOP');
    try {
      await expectUnavailable(redis, 150 + AT_ONCE_MS);
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
    await expectWell(redis);
  });

  test('loading its data', async () => {
    const loading = await startLoadingRedis();
    cleanups.push(() => loading.disconnect());
    const refusals = new Map<string, boolean>();
    await expect
      .poll(
        async () => {
          const error = await loading.set('key', 'value').catch((error: unknown) => error);
          if (error instanceof Error) refusals.set(error.message, isRedisUnavailable(error));
          return refusals.size > 0 && error === 'OK';
        },
        { timeout: 10_000, interval: 5 },
      )
      .toBe(true);
    expect([...refusals]).toEqual([['LOADING Redis is loading the dataset in memory', true]]);
  });

  test('a replica, which takes no writes, and without its primary perhaps no reads', async () => {
    const operator = new Redis(server.url);
    cleanups.push(() => operator.disconnect());
    await redis.connect();
    await operator.config('SET', 'replica-serve-stale-data', 'no');
    await operator.replicaof('127.0.0.1', 1);
    for (const name of ['a read', 'a write', 'a transaction', 'a script']) {
      const error = await failure(commands[name]!(redis));
      expect(isRedisUnavailable(error), `${name}: ${String(error)}`).toBe(true);
    }
    await operator.config('SET', 'replica-serve-stale-data', 'yes');
    expect(isRedisUnavailable(await failure(redis.set('key', 'value')))).toBe(true);
    await operator.replicaof('NO', 'ONE');
    await expect.poll(() => redis.set('key', 'value').catch(() => '')).toBe('OK');
    await expectWell(redis);
  });

  test('a master that was demoted, until its successor is found by another connection', async () => {
    const successor = await startRedis();
    cleanups.push(() => successor.close());
    const proxy = await startTcpSwitch(server.socketPath);
    cleanups.push(() => proxy.close());
    const [store, blocking] = [openRedis, openBlockingRedis].map((open) =>
      open(`redis://127.0.0.1:${proxy.port}`, silent),
    ) as [Redis, Redis];
    cleanups.push(() => [store, blocking].forEach((one) => one.disconnect()));
    await store.connect();
    await blocking.ping();
    await replicate(server, successor);
    const operator = new Redis(successor.url);
    cleanups.push(() => operator.disconnect());
    await operator.replicaof('NO', 'ONE');
    await redis.connect();
    await redis.replicaof('127.0.0.1', 1);
    proxy.turn(successor.socketPath);
    for (const one of [store, blocking]) {
      expect(isRedisUnavailable(await failure(one.set('key', 'lost')))).toBe(true);
      await expect.poll(() => one.set('key', 'after').catch(() => '')).toBe('OK');
    }
    expect(await operator.get('key')).toBe('after');
  });

  test.each([
    ['out of memory', 'maxmemory', '1', '0'],
    ['without the replicas that it wants', 'min-replicas-to-write', '1', '0'],
  ])('%s: it refuses writes, in transactions and scripts too', async (_how, setting, value, before) => {
    await redis.connect();
    await redis.config('SET', setting, value);
    for (const name of ['a write', 'a transaction', 'a script']) {
      const error = await failure(commands[name]!(redis));
      expect(isRedisUnavailable(error), `${name}: ${String(error)}`).toBe(true);
    }
    await redis.config('SET', setting, before);
    await expectWell(redis);
  });

  test('stuck in a script', async () => {
    await redis.connect();
    const stuck = openBlockingRedis(server.url, silent);
    cleanups.push(() => stuck.disconnect());
    await redis.config('SET', 'busy-reply-threshold', 1);
    const ended = failure(stuck.eval('while true do end', 0));
    await expect
      .poll(async () => String(await redis.get('key').catch((error: unknown) => error)), { interval: 5 })
      .toContain('BUSY');
    expect(isRedisUnavailable(await failure(redis.get('key')))).toBe(true);
    await redis.script('KILL');
    await ended;
    await expectWell(redis);
  });
});

test('what is wrong with a command itself is not taken for an outage', async () => {
  await redis.connect();
  await redis.set('text', 'value');
  const faults = [
    await failure(redis.hget('text', 'field')),
    await failure(redis.call('NOSUCHCOMMAND')),
    await failure(redis.eval('return redis.call("NOSUCHCOMMAND")', 0)),
    await failure(redis.multi().call('NOSUCHCOMMAND').exec()),
    new AppError('storage_failed', 'The disk is full'),
    new TypeError('x is not a function'),
    'Connection is closed',
    null,
    undefined,
  ];
  expect(faults.map(isRedisUnavailable)).toEqual(faults.map(() => false));
});

describe('connecting at start', () => {
  test('a server that is not there is storage_unavailable, by its place', async () => {
    const nowhere = openRedis(NOWHERE, silent);
    await expect(connectRedis(nowhere, 'redis.internal:6379')).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringMatching(
        /^Redis at redis\.internal:6379 cannot be reached: .*ENOENT.*nowhere\.sock\. Is REDIS_URL right/,
      ) as unknown,
    });
  });

  test('a server that accepts and does not answer is storage_unavailable in bounded time', async () => {
    redis.options.commandTimeout = 150;
    process.kill(server.pid, 'SIGSTOP');
    try {
      const startedAt = performance.now();
      await expect(connectRedis(redis, 'here')).rejects.toMatchObject({ code: 'storage_unavailable' });
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
  });

  test('a wrong password is storage_unavailable, and is in no error and no log line', async () => {
    await redis.connect();
    const port = await listenOnTcp();
    await redis.config('SET', 'requirepass', 'right-password');
    const lines: string[] = [];
    const logger = pino({ level: 'trace' }, { write: (line) => void lines.push(line) });
    const refused = openRedis(`redis://:wrong-password@127.0.0.1:${port}`, logger);
    const error = await failure(connectRedis(refused, `127.0.0.1:${port}`));
    logger.fatal({ err: error }, 'Start failed');
    expect(error).toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringContaining('WRONGPASS') as unknown,
    });
    expect(lines.length).toBeGreaterThan(1);
    expect(`${lines.join('')}${String(error)}`).not.toContain('wrong-password');
  });
});

test('a connection for workers waits for Redis to come back, and then does what it was asked', async () => {
  const blocking = openBlockingRedis(server.url, silent);
  cleanups.push(() => blocking.disconnect());
  await blocking.ping();
  await server.kill();
  const asked = blocking.set('key', 'value');
  await server.restart();
  expect(await asked).toBe('OK');
});

test('a script is sent again to a server that has forgotten it', async () => {
  await redis.connect();
  expect(await countUp(redis, ['counter'], [])).toBe(1);
  await redis.script('FLUSH');
  expect(await countUp(redis, ['counter'], [])).toBe(2);
});

test('a transaction that a cluster has refused is among its own causes', () => {
  const refused = Object.assign(new Error('EXECABORT Transaction discarded because of previous errors.'), {
    previousErrors: [] as Error[],
  });
  refused.previousErrors.push(refused);
  expect(isRedisUnavailable(refused)).toBe(true);
  refused.previousErrors.push(new Error('CLUSTERDOWN The cluster is down'));
  expect(isRedisUnavailable(refused)).toBe(true);
  refused.previousErrors[1] = new Error("ERR wrong number of arguments for 'hset' command");
  expect(isRedisUnavailable(refused)).toBe(false);
});

test('for the command line: what is asked while Redis is away is answered when it is back', async () => {
  const patient = openPatientRedis(server.url, silent) as Redis;
  cleanups.push(() => patient.disconnect());
  await connectRedis(patient, server.url);
  await server.kill();
  const answers = Promise.all(Object.values(commands).map((run) => run(patient)));
  answers.catch(() => undefined);
  await expectUnavailable(redis);
  await server.restart();
  expect(await answers).toHaveLength(Object.keys(commands).length);
});
