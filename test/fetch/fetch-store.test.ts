import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createFetchStore, type FetchStore } from '../../src/fetch/fetch-store.ts';
import type { Failure, FetchProgress, FetchRequest, FetchState } from '../../src/fetch/fetch.ts';
import type { LedgerEntry, Retrieved } from '../../src/fetch/ledger.ts';
import { fetchKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const RETENTION_MS = 60_000;
const REF = { tenant: 'default', id: 'fch_1', mailboxId: 'mbx_1', retentionMs: RETENTION_MS };
const KEYS = fetchKeys('default', 'fch_1');
const CREATED = '2026-11-23T12:00:00.000Z';
const STARTED = '2026-11-23T12:00:01.000Z';
const ENDED = '2026-11-23T12:00:02.000Z';
const REQUEST: FetchRequest = {
  mailboxId: 'mbx_1',
  source: { host: 'pop.example.com', port: 995, tls: 'implicit', username: 'jörg' },
  ca: null,
  delete: 'stored',
  isDryRun: false,
  isOfMailbox: false,
  firstFetch: 'all',
  limits: { messages: 10, bytes: 1000, messageBytes: 100, seconds: 60 },
  retentionMs: RETENTION_MS,
};
const FAILURE: Failure = {
  code: 'upstream_closed',
  detail: 'gone',
  phase: 'retrieve',
  retryable: true,
  nextAttemptAt: ENDED,
};
const lost = expect.objectContaining({ code: 'lease_lost' }) as Error;
const KNOWN = { at: 1_764_000_000, bytes: 10, absent: null };
const STORED: LedgerEntry = {
  ...KNOWN,
  state: 'stored',
  ownId: null,
  digest: null,
  keptUntil: KNOWN.at,
  isReleased: false,
};
const SUSPECT: LedgerEntry = { ...KNOWN, state: 'suspect' };
const OVERSIZE: LedgerEntry = { ...KNOWN, state: 'oversize', broke: 0 };
const retrieved = (number: number, bytes = 10, messageId = `msg_${number}`): Retrieved => ({
  messageId,
  number,
  as: 'retrieved',
  bytes,
});

let server: TestRedis;
let redis: Redis;
let store: FetchStore;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  store = createFetchStore(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  await store.create(REF, REQUEST, CREATED);
});

const find = async () => (await store.find(REF))!;

describe('a fetch record', () => {
  test('is what was asked for, queued, with nothing done yet, under the retention', async () => {
    await redis.flushall();
    expect(await store.create(REF, REQUEST, CREATED)).toEqual(await find());
    expect(await find()).toEqual({
      ...REQUEST,
      ...REF,
      state: 'queued',
      error: null,
      attempts: 0,
      fruitless: 0,
      createdAt: CREATED,
      startedAt: null,
      endedAt: null,
      listed: 0,
      listedBytes: 0,
      retrieved: 0,
      retrievedBytes: 0,
      omitted: 0,
      skipped: 0,
      filtered: 0,
      failed: 0,
      deletable: 0,
      deleted: 0,
      deletion: 'none',
      limitReached: null,
      failures: [],
      phases: {},
    });
    expect(await redis.pttl(KEYS.record)).toBeGreaterThan(RETENTION_MS - 10_000);
  });

  test('gives back all progress as it was written', async () => {
    await store.begin(REF, 1, STARTED);
    const progress: Partial<FetchProgress> = {
      listed: 5,
      listedBytes: 2 ** 40,
      skipped: 1,
      failed: 1,
      deleted: 2,
      deletion: 'unknown',
      limitReached: 'bytes',
      failures: [{ number: 3, uidl: 'ü:"\n', code: 'message_too_large', detail: 'null' }],
      phases: { connectMs: 12 },
    };
    await store.writeProgress(REF, 1, progress);
    expect(await find()).toMatchObject(progress);
    await store.writeProgress(REF, 1, { limitReached: null, failures: [] });
    expect(await find()).toMatchObject({ ...progress, limitReached: null, failures: [] });
  });

  test('is its tenant’s alone, and gone when it is deleted, with all that belongs to it', async () => {
    expect(await store.find({ ...REF, tenant: 'other' })).toBeNull();
    await store.begin(REF, 1, STARTED);
    await store.commit(REF, 1, 'uidl:0:a', STORED, retrieved(1));
    await redis.set(KEYS.credentials, 'sealed');
    await store.delete(REF);
    expect(await redis.keys('*')).toEqual([]);
    expect(await store.find(REF)).toBeNull();
  });
});

describe('beginning', () => {
  test('makes it active, keeps the first start and counts the attempts', async () => {
    expect(await store.begin(REF, 1, STARTED)).toMatchObject({ state: 'active', startedAt: STARTED, attempts: 1 });
    await store.finish(REF, 1, { state: 'queued', error: FAILURE, endedAt: null });
    expect(await find()).toMatchObject({ state: 'queued', error: FAILURE, endedAt: null });
    expect(await store.begin(REF, 2, ENDED)).toMatchObject({ state: 'active', startedAt: STARTED, attempts: 2 });
  });

  test('is refused to a token that is not later than the one before', async () => {
    await store.begin(REF, 5, STARTED);
    expect(await store.begin(REF, 5, STARTED)).toBeNull();
    expect(await store.begin(REF, 4, STARTED)).toBeNull();
    expect(await find()).toMatchObject({ attempts: 1 });
    // Numbers, not text.
    expect(await store.begin(REF, 10, STARTED)).toMatchObject({ attempts: 2 });
  });

  test('takes over from a worker that died: an active fetch begins again under a later token', async () => {
    await store.begin(REF, 1, STARTED);
    expect(await store.begin(REF, 2, STARTED)).toMatchObject({ state: 'active', attempts: 2 });
  });

  test.each(['succeeded', 'failed', 'cancelled'] as const)('is refused where the fetch has %s', async (state) => {
    await store.begin(REF, 1, STARTED);
    await store.finish(REF, 1, { state, error: null, endedAt: ENDED });
    expect(await store.begin(REF, 2, STARTED)).toBeNull();
    expect(await find()).toMatchObject({ state, endedAt: ENDED, attempts: 1 });
  });

  test('is refused, and makes nothing, where there is no such fetch', async () => {
    expect(await store.begin({ ...REF, id: 'fch_2' }, 1, STARTED)).toBeNull();
    expect(await store.find({ ...REF, id: 'fch_2' })).toBeNull();
    expect(await redis.keys('*fch_2*')).toEqual([]);
  });

  test('tells microsecond tokens apart', async () => {
    const token = 1_795_435_200_123_456;
    await store.begin(REF, token, STARTED);
    await store.writeProgress(REF, token, { listed: 1 });
    expect(await store.begin(REF, token + 1, STARTED)).not.toBeNull();
    await expect(store.writeProgress(REF, token, { listed: 2 })).rejects.toThrow(lost);
  });
});

describe('a worker that another has taken over from', () => {
  test('can write nothing any more', async () => {
    await store.begin(REF, 1, STARTED);
    await store.commit(REF, 1, 'uidl:0:a', STORED, retrieved(1));
    await store.begin(REF, 2, STARTED);
    const before = await find();
    const ledger = await store.readLedger(REF);
    await expect(store.writeProgress(REF, 1, { listed: 99 })).rejects.toThrow(lost);
    await expect(store.finish(REF, 1, { state: 'succeeded', error: null, endedAt: ENDED })).rejects.toThrow(lost);
    await expect(store.commit(REF, 1, 'uidl:0:b', STORED, retrieved(2))).rejects.toThrow(lost);
    await expect(store.commit(REF, 1, 'uidl:0:a', SUSPECT)).rejects.toThrow(lost);
    expect(await find()).toEqual(before);
    expect(await store.readLedger(REF)).toEqual(ledger);
    expect(await store.listMessageIds(REF, 0, 10)).toEqual(['msg_1']);
    await store.writeProgress(REF, 2, { listed: 1 });
  });

  test('nor forget it; who holds it can, while it is active', async () => {
    await store.begin(REF, 1, STARTED);
    await store.begin(REF, 2, STARTED);
    await expect(store.forget(REF, 1)).rejects.toThrow(lost);
    expect(await store.find(REF)).not.toBeNull();
    await store.forget(REF, 2);
    expect(await redis.keys('*')).toEqual([]);
    await expect(store.forget(REF, 2)).rejects.toThrow(lost);
  });

  test('nor can one whose fetch was deleted bring it back', async () => {
    await store.begin(REF, 1, STARTED);
    await store.delete(REF);
    await expect(store.writeProgress(REF, 1, { listed: 1 })).rejects.toThrow(lost);
    await expect(store.finish(REF, 1, { state: 'succeeded', error: null, endedAt: ENDED })).rejects.toThrow(lost);
    await expect(store.commit(REF, 1, 'uidl:0:a', STORED, retrieved(1))).rejects.toThrow(lost);
    await store.requestCancel(REF);
    expect(await redis.keys('*')).toEqual([]);
  });
});

describe('a commit', () => {
  beforeEach(() => store.begin(REF, 1, STARTED));

  test('marks the ledger, and counts a message and its bytes once, however often it is repeated', async () => {
    await store.commit(REF, 1, 'uidl:0:a', STORED, retrieved(1));
    await store.commit(REF, 1, 'uidl:0:a', STORED, retrieved(1));
    await store.begin(REF, 2, STARTED);
    await store.commit(REF, 2, 'uidl:0:a', STORED, retrieved(7, 10, 'msg_1'));
    expect(await find()).toMatchObject({ retrieved: 1, retrievedBytes: 10 });
    expect(await store.listMessageIds(REF, 0, 10)).toEqual(['msg_1']);
    expect(await store.readLedger(REF)).toEqual(new Map([['uidl:0:a', STORED]]));
  });

  test('counts a message that was suspect or too large, once it is stored, and those not', async () => {
    await store.commit(REF, 1, 'uidl:0:a', SUSPECT);
    await store.commit(REF, 1, 'uidl:0:b', OVERSIZE);
    expect(await find()).toMatchObject({ retrieved: 0, retrievedBytes: 0 });
    expect(await store.listMessageIds(REF, 0, 10)).toEqual([]);
    await store.commit(REF, 1, 'uidl:0:a', STORED, retrieved(1));
    await store.commit(REF, 1, 'uidl:0:b', STORED, retrieved(2, 20));
    expect(await find()).toMatchObject({ retrieved: 2, retrievedBytes: 30 });
  });

  test('counts a message apart of which only the header section is stored', async () => {
    await store.commit(REF, 1, 'uidl:0:a', STORED, { ...retrieved(1, 5), as: 'omitted' });
    expect(await find()).toMatchObject({ retrieved: 0, omitted: 1, retrievedBytes: 5 });
    expect(await store.listMessageIds(REF, 0, 10)).toEqual(['msg_1']);
  });

  test('keeps every entry as it was, keys with any characters too', async () => {
    const entries: [string, LedgerEntry][] = [
      ['uidl:0:a:b c"\\ü', STORED],
      ['uidl:1:a:b c"\\ü', SUSPECT],
      [`digest:0:${'0'.repeat(64)}`, OVERSIZE],
    ];
    for (const [key, entry] of entries) await store.commit(REF, 1, key, entry);
    expect(await store.readLedger(REF)).toEqual(new Map(entries));
  });

  test('lists messages in the order of the maildrop, whatever the order of the commits, page by page', async () => {
    for (const number of [3, 10, 1, 2, 9]) await store.commit(REF, 1, `uidl:0:${number}`, STORED, retrieved(number, 1));
    expect(await store.listMessageIds(REF, 0, 3)).toEqual(['msg_1', 'msg_2', 'msg_3']);
    expect(await store.listMessageIds(REF, 3, 3)).toEqual(['msg_9', 'msg_10']);
    expect(await store.listMessageIds(REF, 5, 3)).toEqual([]);
  });

  test('lives as long as the record', async () => {
    await store.commit(REF, 1, 'uidl:0:a', STORED, retrieved(1));
    for (const key of [KEYS.record, KEYS.ledger, KEYS.order]) {
      const ttlMs = await redis.pttl(key);
      expect(ttlMs).toBeGreaterThan(RETENTION_MS - 10_000);
      expect(ttlMs).toBeLessThanOrEqual(RETENTION_MS);
    }
  });
});

describe('an end without a lease', () => {
  const end = { state: 'cancelled', error: null, endedAt: ENDED } as const;

  test.each<[FetchState, FetchState[], boolean]>([
    ['queued', ['queued'], true],
    ['queued', ['queued', 'active'], true],
    ['queued', ['active'], false],
    ['active', ['queued'], false],
    ['active', ['queued', 'active'], true],
    ['succeeded', ['queued', 'active'], false],
    ['failed', ['queued', 'active'], false],
  ])('of a fetch that is %s, allowed from %j: %s', async (state, from, expected) => {
    if (state !== 'queued') await store.begin(REF, 1, STARTED);
    if (state !== 'queued' && state !== 'active') await store.finish(REF, 1, { state, error: null, endedAt: STARTED });
    expect(await store.end(REF, from, end)).toBe(expected);
    expect((await find()).state).toBe(expected ? 'cancelled' : state);
  });

  test('makes no record where there is none', async () => {
    expect(await store.end({ ...REF, id: 'fch_2' }, ['queued', 'active'], end)).toBe(false);
    expect(await redis.keys('*fch_2*')).toEqual([]);
  });

  test('keeps a fetch from beginning', async () => {
    await store.end(REF, ['queued'], end);
    expect(await store.begin(REF, 1, STARTED)).toBeNull();
  });

  // `finish` looks at the token alone: it should want the fetch to be active, too.
  test('stands: the worker that held the fetch cannot end it another way', async () => {
    await store.begin(REF, 1, STARTED);
    await store.end(REF, ['queued', 'active'], { ...end, state: 'failed' });
    await store.finish(REF, 1, { state: 'succeeded', error: null, endedAt: ENDED }).catch(() => {});
    expect((await find()).state).toBe('failed');
  });
});

describe('a cancel', () => {
  test.each(['queued', 'active'] as const)('is asked of a fetch that is %s', async (state) => {
    if (state === 'active') await store.begin(REF, 1, STARTED);
    expect(await store.isCancelRequested(REF)).toBe(false);
    await store.requestCancel(REF);
    expect(await store.isCancelRequested(REF)).toBe(true);
    expect((await find()).state).toBe(state);
  });

  test('comes too late for a fetch that has ended', async () => {
    await store.begin(REF, 1, STARTED);
    await store.finish(REF, 1, { state: 'succeeded', error: null, endedAt: ENDED });
    await store.requestCancel(REF);
    expect(await store.isCancelRequested(REF)).toBe(false);
  });
});
