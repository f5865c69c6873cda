import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { messageReceived, type NewEvent } from '../../src/event/event.ts';
import { createEventLog, type EventLog } from '../../src/event/event-log.ts';
import { EVENT_TYPES, isTypePattern, matchesType } from '../../src/event/event-types.ts';
import { createEventFeed, type EventFeed, type EventPage, type FeedQuery } from '../../src/event/feed.ts';
import { scanEntriesMax } from '../../src/event/limits.ts';
import { createNews, type News } from '../../src/event/news.ts';
import { openBlockingRedis } from '../../src/redis/connection.ts';
import { eventKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually } from '../support/service.ts';

const ALL: FeedQuery = { after: null, types: ['*'], mailboxId: null, limit: 100, waitMs: 0 };
const running = new AbortController().signal;

let server: TestRedis;
let redis: Redis;
let subscriber: Redis;
let log: EventLog;
let feed: EventFeed;
let news: News;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  subscriber = openBlockingRedis(server.url, pino({ level: 'silent' }));
  news = createNews(subscriber);
});
afterAll(async () => {
  redis.disconnect();
  subscriber.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  log = createEventLog(redis, { ageMs: 3_600_000, bytes: 1e9 });
  feed = createEventFeed({ log, news, clock: { now: () => Date.now() } });
});

function received(messageId: string, mailboxId = 'mbx_1'): NewEvent {
  const time = '2026-11-23T12:00:00.000Z';
  return messageReceived({ tenant: 'default', mailboxId, fetchId: 'fch_1', messageId, time });
}

async function read(query: Partial<FeedQuery> = {}, tenant = 'default'): Promise<EventPage> {
  return (await feed.read(tenant, { ...ALL, ...query }, running)) ?? expect.fail('There is a gap');
}

const subjectsOf = ({ events }: EventPage) => events.map(({ event }) => event.subject);
const subscribers = async (tenant: string) => Number((await redis.pubsub('NUMSUB', eventKeys(tenant).channel))[1]);

describe('a page', () => {
  test('holds what the filter wants, and goes on behind what it does not', async () => {
    await log.append('default', [received('msg_1'), received('msg_2', 'mbx_2'), received('msg_3'), received('msg_4')]);
    const first = await read({ mailboxId: 'mbx_1', limit: 2 });
    expect(subjectsOf(first)).toEqual(['msg_1', 'msg_3']);
    expect(first.hasMore).toBe(true);
    const second = await read({ mailboxId: 'mbx_1', limit: 2, after: first.end });
    expect(subjectsOf(second)).toEqual(['msg_4']);
    expect(second.hasMore).toBe(false);
    const none = await read({ types: ['fetch.*', 'mailbox.warning'] });
    expect(none).toEqual({ events: [], end: second.end, hasMore: false });
  });

  test('looks at so many events at most, and says that there may be more', async () => {
    const many = Array.from({ length: scanEntriesMax + 500 }, (_, at) => received(`msg_${at}`));
    await log.append('default', [...many, received('msg_wanted', 'mbx_2')]);
    const first = await read({ mailboxId: 'mbx_2' });
    expect(first).toMatchObject({ events: [], hasMore: true });
    expect(first.end.number).toBeGreaterThanOrEqual(scanEntriesMax);
    expect(first.end.number).toBeLessThan(many.length);
    expect(subjectsOf(await read({ mailboxId: 'mbx_2', after: first.end }))).toEqual(['msg_wanted']);
  });

  test('of a tenant who has had no event is empty, and what comes is behind it', async () => {
    const { end, events } = await read();
    expect(events).toEqual([]);
    await log.append('default', [received('msg_1')]);
    expect(subjectsOf(await read({ after: end }))).toEqual(['msg_1']);
    expect((await read({}, 'other')).events).toEqual([]);
  });
});

describe('who waits', () => {
  test('is woken by an event that they want, and listens no more when nobody waits', async () => {
    const waiting = read({ mailboxId: 'mbx_2', waitMs: 60_000 });
    await eventually(
      () => subscribers('default'),
      (count) => count === 1,
    );
    await log.append('default', [received('msg_1')]);
    await log.append('default', [received('msg_2', 'mbx_2')]);
    expect(subjectsOf(await waiting)).toEqual(['msg_2']);
    await eventually(
      () => subscribers('default'),
      (count) => count === 0,
    );
  });

  test('is woken also where the connection was lost meanwhile', async () => {
    const waiting = read({ waitMs: 60_000 });
    await eventually(
      () => subscribers('default'),
      (count) => count === 1,
    );
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await log.append('default', [received('msg_1')]);
    expect(subjectsOf(await waiting)).toEqual(['msg_1']);
  });

  test('is answered when the time is over, and when they leave', async () => {
    expect(await read({ waitMs: 30 })).toMatchObject({ events: [] });
    const leaving = new AbortController();
    const waiting = feed.read('default', { ...ALL, waitMs: 60_000 }, leaving.signal);
    await eventually(
      () => subscribers('default'),
      (count) => count === 1,
    );
    leaving.abort();
    expect(await waiting).toMatchObject({ events: [] });
  });

  test('for one tenant is not told of another', async () => {
    const waiting = read({ waitMs: 60_000 }, 'other');
    await eventually(
      () => subscribers('other'),
      (count) => count === 1,
    );
    expect(await subscribers('default')).toBe(0);
    await log.append('default', [received('msg_1')]);
    await log.append('other', [{ ...received('msg_2'), tenant: 'other' }]);
    expect(subjectsOf(await waiting)).toEqual(['msg_2']);
  });
});

describe('a pattern', () => {
  test.each([
    ['*', EVENT_TYPES.length],
    ['message.*', 3],
    ['webhook.disabled', 1],
    ['message', 0],
    ['message.recieved', 0],
    ['*.failed', 0],
  ])('%s fits %i types', (pattern, count) => {
    expect(EVENT_TYPES.filter((type) => matchesType(pattern, type))).toHaveLength(count);
    expect(isTypePattern(pattern)).toBe(count > 0);
  });
});
