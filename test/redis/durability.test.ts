import { once } from 'node:events';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDurability } from '../../src/redis/durability.ts';
import { connectionLimits } from '../../src/redis/limits.ts';
import { checkServer, readServerFacts } from '../../src/redis/server-facts.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { replicate } from '../support/replication.ts';

let server: TestRedis;
let redis: Redis;
let hasWaitAof: boolean;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  ({ hasWaitAof } = await readServerFacts(redis));
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

function makeClock() {
  const slept: number[] = [];
  return { slept, sleep: async (ms: number) => void slept.push(ms) };
}

const refused = (why: string) => ({
  code: 'storage_failed',
  message: expect.stringMatching(new RegExp(`not surely on disk: .*${why}.*Nothing was deleted upstream`)) as unknown,
});

/** The server, with lines of its INFO replaced: for what cannot be brought about here. */
function pretend(changes: (ask: number) => Record<string, string>, more: object = {}): Redis {
  let asks = 0;
  return Object.assign(Object.create(redis) as Redis, {
    async info(section: string) {
      const text = await redis.info(section);
      if (section === 'persistence') asks += 1;
      return Object.entries(changes(asks)).reduce(
        (info, [name, value]) => info.replace(new RegExp(`^${name}:.*$`, 'm'), `${name}:${value}`),
        text,
      );
    },
    ...more,
  });
}

describe('what is written is held for durable', () => {
  test('by a server with an append-only file, after two periods of its sync where it cannot tell', async () => {
    const clock = makeClock();
    const check = await createDurability(redis, clock).begin();
    await redis.set('key', 'value');
    await check.confirm();
    expect(clock.slept.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThanOrEqual(
      hasWaitAof ? 0 : connectionLimits.everysecTwiceMs,
    );
  });

  test('not before a sync that is under way has ended', async () => {
    const clock = makeClock();
    const busy = pretend((ask) => ({ redis_version: '7.0.15', aof_pending_bio_fsync: ask > 1 && ask < 6 ? '1' : '0' }));
    await (await createDurability(busy, clock).begin()).confirm();
    expect(clock.slept).toEqual([connectionLimits.everysecTwiceMs, ...Array(3).fill(connectionLimits.syncPollMs)]);
  });
});

describe('what is written is not held for durable', () => {
  test('where there is no append-only file', async () => {
    await redis.config('SET', 'appendonly', 'no');
    try {
      await expect(createDurability(redis, makeClock()).begin()).rejects.toMatchObject(refused('appendonly yes'));
    } finally {
      await redis.config('SET', 'appendonly', 'yes');
      await expect.poll(() => redis.info('persistence')).toContain('aof_rewrite_in_progress:0');
    }
  });

  test('where the append-only file is switched off meanwhile', async () => {
    const check = await createDurability(redis, makeClock()).begin();
    await redis.config('SET', 'appendonly', 'no');
    try {
      await expect(check.confirm()).rejects.toMatchObject({ code: 'storage_failed' });
    } finally {
      await redis.config('SET', 'appendonly', 'yes');
      await expect.poll(() => redis.info('persistence')).toContain('aof_rewrite_in_progress:0');
    }
  });

  test('where syncing is left to the system', async () => {
    await redis.config('SET', 'appendfsync', 'no');
    try {
      const old = pretend(() => ({ redis_version: '7.0.15' }));
      await expect(createDurability(old, makeClock()).begin()).rejects.toMatchObject(refused('appendfsync everysec'));
    } finally {
      await redis.config('SET', 'appendfsync', 'everysec');
    }
  });

  test('where Redis was restarted in between, be it without a loss', async () => {
    const check = await createDurability(redis, makeClock()).begin();
    await redis.set('key', 'value');
    await server.restart();
    await expect.poll(() => redis.ping().catch(() => '')).toBe('PONG');
    await expect(check.confirm()).rejects.toMatchObject(refused('restarted'));
  });

  test('where the last write to the append-only file failed', async () => {
    const failing = pretend(() => ({ aof_last_write_status: 'err' }));
    await expect(createDurability(failing, makeClock()).begin()).rejects.toMatchObject(refused('could not write'));
    const failsLater = pretend((ask) => (ask > 1 ? { aof_last_write_status: 'err' } : {}));
    const check = await createDurability(failsLater, makeClock()).begin();
    await expect(check.confirm()).rejects.toMatchObject({ code: 'storage_failed' });
  });

  test('where a sync does not end in time', async () => {
    const stuck = pretend(() => ({ redis_version: '7.0.15', aof_pending_bio_fsync: '1' }));
    const check = await createDurability(stuck, makeClock()).begin();
    await expect(check.confirm()).rejects.toMatchObject(refused('in time'));
  });
});

/** A real server of 7.2 or newer takes this way in the tests above; where there is none, its answers are made up. */
describe('WAITAOF', () => {
  const answering = (answer: [Error | null, unknown], asked: unknown[][] = []): Redis => {
    const pipeline = {
      set: (...args: unknown[]) => (asked.push(['SET', ...args]), pipeline),
      call: (...args: unknown[]) => (asked.push(args), pipeline),
      exec: async () => [[null, 'OK'], asked.at(-1)?.[0] === 'WAIT' ? [null, 0] : answer],
    };
    return pretend(() => ({ redis_version: '7.2.4' }), { pipeline: () => pipeline });
  };

  test('is asked of the local disk, behind a write of the same connection, and nothing is slept away', async () => {
    const clock = makeClock();
    const asked: unknown[][] = [];
    await (await createDurability(answering([null, [1, 0]], asked), clock).begin()).confirm();
    expect(asked).toEqual([
      ['SET', 'pb:{durability}:mark', '', 'PX', connectionLimits.durableTimeoutMs],
      ['WAIT', 0, connectionLimits.durableTimeoutMs],
      ['SET', 'pb:{durability}:mark', '', 'PX', connectionLimits.durableTimeoutMs],
      ['WAITAOF', '1', '0', connectionLimits.durableTimeoutMs],
    ]);
    expect(clock.slept).toEqual([]);
    expect(connectionLimits.durableTimeoutMs).toBeLessThan(connectionLimits.commandTimeoutMs);
  });

  test.each([
    ['too slow', [null, [0, 0]], 'in time'],
    ['refused', [new Error('NOPERM this user has no permissions'), undefined], 'refused WAITAOF'],
  ] as const)('that is %s: not durable', async (_how, answer, why) => {
    const check = await createDurability(answering([...answer]), makeClock()).begin();
    await expect(check.confirm()).rejects.toMatchObject(refused(why));
  });
});

describe('with replicas, what is written', () => {
  let replica: TestRedis;
  let replicaRedis: Redis;
  beforeAll(async () => {
    replica = await startRedis();
    replicaRedis = new Redis(replica.url);
    await replicate(server, replica);
  });
  afterAll(async () => {
    replicaRedis.disconnect();
    await replica.close();
  });
  // Later tests need it as it was.
  const stopped = async (work: () => Promise<void>): Promise<void> => {
    process.kill(replica.pid, 'SIGSTOP');
    try {
      await work();
    } finally {
      process.kill(replica.pid, 'SIGCONT');
    }
  };

  test('is durable when all of them have it', async () => {
    const check = await createDurability(redis, makeClock()).begin();
    await redis.set('replicated', 'value');
    await check.confirm();
    expect(await replicaRedis.get('replicated')).toBe('value');
  });

  test('is not durable while one of them stands still', () =>
    stopped(async () => {
      const check = await createDurability(redis, makeClock()).begin();
      await expect(check.confirm()).rejects.toMatchObject(refused('only 0 of 1 replicas'));
    }));

  test('is not durable where there are fewer than are wanted', async () => {
    const check = await createDurability(redis, makeClock(), { replicasMin: 2 }).begin();
    await expect(check.confirm()).rejects.toMatchObject(refused('only 1 of 2 replicas'));
  });

  test('is not durable where it goes to another server than the one that is asked', async () => {
    const waits = redis.duplicate();
    try {
      await waits.ping();
      const left = once(waits, 'close');
      await expect(createDurability(waits, makeClock(), { writes: replicaRedis }).begin()).rejects.toMatchObject(
        refused('failing over'),
      );
      await left; // And looks where the master is now.
      expect(await waits.ping()).toBe('PONG');
    } finally {
      waits.disconnect();
    }
  });

  test('is not durable in a session in which one was lost', async () => {
    const check = await createDurability(redis, makeClock()).begin();
    await replicaRedis.replicaof('NO', 'ONE');
    await expect.poll(() => redis.info('replication')).toContain('connected_slaves:0');
    await expect(check.confirm()).rejects.toMatchObject(refused('only 0 of 1 replicas'));
    await (await createDurability(redis, makeClock()).begin()).confirm();
  });
});

describe('a server at start', () => {
  const demands = { allowsVolatile: false };
  function makeLogger() {
    const lines: string[] = [];
    return { lines, logger: pino({ level: 'info' }, { write: (line) => void lines.push(line) }) };
  }

  test.each(['allkeys-lru', 'volatile-ttl'])('that may drop keys is refused: %s', async (policy) => {
    await redis.config('SET', 'maxmemory-policy', policy);
    try {
      await expect(checkServer(redis, makeLogger().logger, demands)).rejects.toMatchObject({
        code: 'invalid_config',
        message: expect.stringContaining(`maxmemory-policy ${policy}`) as unknown,
      });
    } finally {
      await redis.config('SET', 'maxmemory-policy', 'noeviction');
    }
  });

  test('that keeps no append-only file is refused, snapshots or not, unless that is meant so', async () => {
    await checkServer(redis, makeLogger().logger, demands);
    await redis.config('SET', 'appendonly', 'no');
    await redis.config('SET', 'save', '3600 1');
    try {
      await expect(checkServer(redis, makeLogger().logger, demands)).rejects.toMatchObject({
        code: 'invalid_config',
        message: expect.stringMatching(
          /no append-only file.*appendonly yes.*POPBRIDGE_REDIS_ALLOW_VOLATILE/,
        ) as unknown,
      });
      const loud = makeLogger();
      await checkServer(redis, loud.logger, { allowsVolatile: true });
      expect(loud.lines.join('')).toContain('append-only file');
    } finally {
      await redis.config('SET', 'save', '');
      await redis.config('SET', 'appendonly', 'yes');
      await expect.poll(() => redis.info('persistence')).toContain('aof_rewrite_in_progress:0');
    }
  });

  test.each(['5.0.14', '6.0.16'])('that is too old is refused, with what it lacks: %s', async (version) => {
    const old = pretend(() => ({ redis_version: version }));
    await expect(checkServer(old, makeLogger().logger, demands)).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(new RegExp(`version ${version}, and 6.2 is needed`)) as unknown,
    });
  });

  test.each(['6.2.0', '7.0.15', '10.1.0'])('that is new enough is taken: %s', async (version) => {
    await checkServer(
      pretend(() => ({ redis_version: version })),
      makeLogger().logger,
      demands,
    );
  });

  describe('that says less of itself, as managed ones do', () => {
    const reticent = (names: string[], config: object): Redis => {
      return Object.assign(Object.create(redis) as Redis, {
        info: async (section: string) =>
          (await redis.info(section)).replaceAll(new RegExp(`^(${names.join('|')}):.*$`, 'gm'), ''),
        ...config,
      });
    };
    const refuses = {
      config: () => Promise.reject(new Error("ERR unknown command 'CONFIG'")),
    };

    test('is asked by CONFIG for what INFO leaves out', async () => {
      await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
      try {
        const server = reticent(['maxmemory_policy'], {});
        await expect(checkServer(server, makeLogger().logger, demands)).rejects.toMatchObject({
          message: expect.stringContaining('allkeys-lru') as unknown,
        });
      } finally {
        await redis.config('SET', 'maxmemory-policy', 'noeviction');
      }
    });

    test('is taken by what INFO says where CONFIG is forbidden', async () => {
      const { lines, logger } = makeLogger();
      await checkServer(reticent(['nothing'], refuses), logger, demands);
      expect(lines.join('')).not.toContain('"level":40');
    });

    test('is taken where neither says it, with a warning for each thing that could not be known', async () => {
      const { lines, logger } = makeLogger();
      await checkServer(reticent(['redis_version', 'maxmemory_policy', 'aof_enabled'], refuses), logger, demands);
      const warnings = lines.map((line) => JSON.parse(line) as { level: number; msg: string });
      expect(warnings.filter(({ level }) => level === 40).map(({ msg }) => msg)).toEqual([
        expect.stringContaining('which version'),
        expect.stringContaining('noeviction'),
        expect.stringContaining('append-only file'),
      ]);
    });
  });

  test.each([
    ['6.2.14', false],
    ['7.0.15', false],
    ['7.2.0', true],
    ['7.10.1', true],
    ['8.0.0', true],
  ])('of version %s has WAITAOF: %s', async (version, has) => {
    expect(await readServerFacts(pretend(() => ({ redis_version: version })))).toMatchObject({
      version,
      hasWaitAof: has,
    });
  });
});
