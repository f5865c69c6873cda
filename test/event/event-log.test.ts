import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createAnnouncer } from '../../src/event/announcer.ts';
import { messageReceived, type EventRef, type NewEvent } from '../../src/event/event.ts';
import { createEventLog, type EventLog, type EventLogBounds } from '../../src/event/event-log.ts';
import { bytesCheckEvery, handedOnMax, recentMax } from '../../src/event/limits.ts';
import type { LoggedEvent } from '../../src/event/log-codec.ts';
import { eventKeys, mailboxesKey } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually } from '../support/service.ts';

const BOUNDS: EventLogBounds = { ageMs: 3_600_000, bytes: 10_000_000 };
const TIME = '2026-11-23T12:00:00.000Z';
const KEYS = eventKeys('default');

let server: TestRedis;
let redis: Redis;
let log: EventLog;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  log = createEventLog(redis, BOUNDS);
});

function received(messageId: string, mailboxId = 'mbx_1', tenant = 'default'): NewEvent {
  return messageReceived({ tenant, mailboxId, fetchId: 'fch_1', messageId, time: TIME });
}

const many = (count: number, prefix = 'msg'): NewEvent[] =>
  Array.from({ length: count }, (_, at) => received(`${prefix}_${at}`));

async function readAll(tenant = 'default'): Promise<LoggedEvent[]> {
  const all: LoggedEvent[] = [];
  for (;;) {
    const { entries } = (await log.read(tenant, all.at(-1)?.place ?? null)) ?? expect.fail('There is a gap');
    if (entries.length === 0) return all;
    all.push(...entries);
  }
}

const sequencesOf = (events: readonly EventRef[]) => events.map(({ sequence }) => sequence);

describe('the log', () => {
  test('gives events back as they were announced, in their order, counted by mailbox without gaps', async () => {
    const events = [received('msg_1'), received('msg_2', 'mbx_2'), received('msg_3')];
    const placed = await log.append('default', events);
    expect(sequencesOf(placed)).toEqual([1, 1, 2]);
    const ofNone: NewEvent = {
      id: 'evt_1',
      type: 'webhook.recovered',
      tenant: 'default',
      subject: 'whk_1',
      time: TIME,
      mailboxId: null,
      fetchId: null,
      facts: { failingSince: null },
    };
    expect(sequencesOf(await log.append('default', [ofNone]))).toEqual([null]);
    const read = await readAll();
    expect(read.map(({ event }) => event)).toEqual([...placed, { ...ofNone, sequence: null }]);
    expect(read.map(({ place }) => place.number)).toEqual([1, 2, 3, 4]);
  });

  test('counts without gaps and in order where many append at once', async () => {
    await Promise.all(Array.from({ length: 50 }, (_, at) => log.append('default', many(5, `from${at}`))));
    expect((await readAll()).map(({ event }) => event.sequence)).toEqual(
      Array.from({ length: 250 }, (_, at) => at + 1),
    );
  });

  test('has an event that comes again once, at its first place', async () => {
    const [first] = await log.append('default', [received('msg_1')]);
    const again = await log.append('default', [received('msg_2'), received('msg_1'), received('msg_2')]);
    expect(sequencesOf(again)).toEqual([2, 1, 2]);
    expect(again[1]).toEqual(first);
    expect(await readAll()).toHaveLength(2);
  });

  test('knows the latest events again, and keeps few ids for that', async () => {
    await log.append('default', many(recentMax * 2 + 10));
    expect(await redis.hlen(KEYS.recent)).toBeLessThan(recentMax);
    expect(await redis.hlen(KEYS.recentBefore)).toBeLessThan(recentMax + 500);
    expect(await redis.pttl(KEYS.recentBefore)).toBeGreaterThan(0);
    const [last] = await log.append('default', [received(`msg_${recentMax + 10}`)]);
    expect(last?.sequence).toBe(recentMax + 11);
  });

  test('is one for each tenant', async () => {
    await log.append('default', [received('msg_1')]);
    await log.append('other', [received('msg_1', 'mbx_1', 'other')]);
    expect(await readAll()).toMatchObject([{ event: { tenant: 'default', sequence: 1 } }]);
    expect(await readAll('other')).toMatchObject([{ event: { tenant: 'other', sequence: 1 } }]);
    expect(await readAll('nobody')).toEqual([]);
  });

  test('holds references alone', async () => {
    await log.append('default', [Object.assign(received('msg_1'), { password: 'secret' })]);
    expect(JSON.stringify(await redis.xrange(KEYS.log, '-', '+'))).not.toContain('secret');
  });
});

describe('what has left the log', () => {
  test('goes by bytes, the oldest first, and a reader behind it is told', async () => {
    const bytes = 65_536;
    log = createEventLog(redis, { ...BOUNDS, bytes });
    const [begin] = await log.append('default', [received('msg_first')]);
    const cursor = (await readAll())[0]!.place;
    for (let round = 0; round < 20; round += 1) {
      await log.append('default', many(100, `round${round}`));
      expect(Number(await redis.call('MEMORY', 'USAGE', KEYS.log))).toBeLessThan(bytes * 1.2);
    }
    expect(begin?.sequence).toBe(1);
    const left = await readAll();
    expect(left.length).toBeGreaterThan(100);
    expect(left.length).toBeLessThan(2000);
    expect(left.at(-1)?.event.sequence).toBe(2001);
    expect(await log.read('default', cursor)).toBeNull();
    // Who has read to the last that is gone has missed nothing.
    const oldest = left[0]!.place;
    expect(await log.read('default', { ms: oldest.ms, number: oldest.number - 1 })).not.toBeNull();
    expect(await log.read('default', { ms: oldest.ms, number: oldest.number - 2 })).toBeNull();
  });

  test('goes by age: while there are new events, and when there are none', async () => {
    log = createEventLog(redis, { ...BOUNDS, ageMs: 300 });
    await log.append('default', many(1000, 'old'));
    await eventually(
      async () => {
        await log.append('default', [received(`msg_${Math.random()}`)]);
        return redis.xlen(KEYS.log);
      },
      (length) => length < 500,
    );
    expect(await log.read('default', { ms: 1, number: 1 })).toBeNull();
    const last = await log.end('default');
    await eventually(
      () => redis.exists(KEYS.log),
      (there) => there === 0,
    );
    expect((await log.read('default', last))?.entries, 'who had read all has missed nothing').toEqual([]);
    expect(await log.read('default', { ms: last.ms, number: last.number - 1 })).toBeNull();
    await log.append('default', [received('msg_new')]);
    expect((await log.read('default', last))?.entries.map(({ event }) => event.subject)).toEqual(['msg_new']);
  });

  test('is told to a reader who is ahead of a log that has lost its end', async () => {
    await log.append('default', [received('msg_1')]);
    const end = await log.end('default');
    expect(await log.read('default', end)).toEqual({ entries: [], end });
    expect(await log.read('default', { ...end, number: end.number + 1 })).toBeNull();
  });
});

describe('the count of a mailbox', () => {
  const countOf = async (mailbox: string) => redis.hget(KEYS.places, mailbox);
  const store = (mailbox: string) => redis.zadd(mailboxesKey('default'), 0, mailbox);
  const remove = async (mailbox: string) => {
    await log.letGo('default', mailbox);
    await redis.zrem(mailboxesKey('default'), mailbox);
  };
  let others = 0;
  /** Enough that it is looked whose events have left the log. */
  const happenElsewhere = async () => log.append('default', many(bytesCheckEvery, `other${(others += 1)}`));
  const untilOnlyNewAreLeft = async (after: number) =>
    eventually(
      async () => {
        await happenElsewhere();
        return (await redis.xrange(KEYS.log, '-', '+', 'COUNT', 1))[0]![0];
      },
      (oldest) => Number(oldest.split('-')[0]) > after,
    );

  beforeEach(() => store('mbx_1'));

  test('goes with its last event, where it was deleted, before that or since, or never stored; else it stays', async () => {
    log = createEventLog(redis, { ...BOUNDS, ageMs: 300 });
    for (const mailbox of ['mbx_kept', 'mbx_deleted', 'mbx_again', 'mbx_late']) await store(mailbox);
    for (const mailbox of ['mbx_kept', 'mbx_deleted', 'mbx_again', 'mbx_late', 'mbx_unstored']) {
      await log.append('default', [received(`msg_of_${mailbox}`, mailbox)]);
    }
    for (const mailbox of ['mbx_deleted', 'mbx_again', 'mbx_late']) await remove(mailbox);
    await store('mbx_again');
    const [late] = await log.append('default', [received('msg_late', 'mbx_late')]);
    expect(late?.sequence).toBe(2);
    await untilOnlyNewAreLeft((await log.end('default')).ms);
    await happenElsewhere();
    expect(await redis.hkeys(KEYS.places).then((all) => all.sort())).toEqual([
      'last',
      'mbx_1',
      'mbx_again',
      'mbx_kept',
    ]);
    expect(await redis.exists(KEYS.leaving)).toBe(0);
    const next = await log.append('default', [received('msg_n1', 'mbx_kept'), received('msg_n2', 'mbx_deleted')]);
    expect(sequencesOf(next)).toEqual([2, 1]);
  });

  test('does not go back while an event of it can still be read, older than it need be', async () => {
    log = createEventLog(redis, { ...BOUNDS, ageMs: 1_000 });
    // The log is one node, which trimming leaves as it is.
    await redis.config('SET', 'stream-node-max-entries', 0, 'stream-node-max-bytes', 0);
    onTestFinished(
      async () => void (await redis.config('SET', 'stream-node-max-entries', 100, 'stream-node-max-bytes', 4096)),
    );
    await store('mbx_2');
    await log.append('default', [received('msg_first', 'mbx_2')]);
    await remove('mbx_2');
    const { ms } = await log.end('default');
    await eventually(
      async () => {
        await happenElsewhere();
        return (await log.end('default')).ms;
      },
      (now) => now > ms + 1_000,
    );
    await happenElsewhere();
    expect((await readAll())[0]?.event, 'that it is there is what this is about').toMatchObject({ mailboxId: 'mbx_2' });
    expect(await countOf('mbx_2')).toBe('1');
    expect(sequencesOf(await log.append('default', [received('msg_next', 'mbx_2')]))).toEqual([2]);
  });

  test('of one that has had no events is nothing to let go of', async () => {
    await log.letGo('default', 'mbx_nobody');
    expect(await redis.exists(KEYS.leaving)).toBe(0);
  });
});

test('what is announced is in the log before it is handed on, each time under the same id and sequence', async () => {
  const handed: [EventRef, number][] = [];
  const announcer = createAnnouncer({
    log,
    deliver: async (event) => void handed.push([event, await redis.xlen(KEYS.log)]),
    clock: { now: () => 1000 },
  });
  const fetch = { tenant: 'default', id: 'fch_1', mailboxId: 'mbx_1' };
  await announcer.received(fetch, [{ id: 'msg_1', storedMs: 500 }]);
  await announcer.received({ ...fetch, id: 'fch_2' }, [{ id: 'msg_1', storedMs: 900 }]);
  expect(handed.map(([{ id, sequence }, length]) => [id, sequence, length])).toEqual([
    [received('msg_1').id, 1, 1],
    [received('msg_1').id, 1, 1],
  ]);
});

test('what is announced together is handed on in its order, and never more at once than the bound', async () => {
  const ids = Array.from({ length: handedOnMax * 3 + 1 }, (_, at) => `msg_${at}`);
  const handed: string[] = [];
  let underWay = 0;
  let most = 0;
  const announcer = createAnnouncer({
    log,
    async deliver({ subject }) {
      handed.push(subject);
      underWay += 1;
      most = Math.max(most, underWay);
      await redis.ping();
      underWay -= 1;
    },
    clock: { now: () => 1000 },
  });
  await announcer.deletedUpstream({ tenant: 'default', id: 'fch_1', mailboxId: 'mbx_1' }, ids);
  expect(handed).toEqual(ids);
  expect(underWay).toBe(0);
  expect(most).toBe(handedOnMax);
});
