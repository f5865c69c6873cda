import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createDueIndex, type DueIndex, type DueMailbox } from '../../src/fetch/due-index.ts';
import { claimMs, mailboxShards, turnMs, turnRestMs } from '../../src/fetch/limits.ts';
import { shardOf } from '../../src/fetch/shard.ts';
import type { MailboxRef } from '../../src/mailbox/mailbox.ts';
import { mailboxId } from '../../src/identity.ts';
import { dueKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const NOW = Date.parse('2026-03-10T09:30:00Z');
/** What a mailbox takes up in the index, with a tenant of seven letters. */
const MEMBER_BYTES_MAX = 150;

let server: TestRedis;
let redis: Redis;
let due: DueIndex;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  redis.on('error', () => undefined); // It is restarted.
  due = createDueIndex(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(() => redis.flushall());

function refOf(number: number): MailboxRef {
  const source = { host: 'pop.example.com', port: 995, username: `user${number}` };
  return { tenant: 'default', mailbox: mailboxId('default', source) };
}
const REF = refOf(1);
const SHARD = shardOf(REF.mailbox);

async function claimAll(index: DueIndex, nowMs: number): Promise<DueMailbox[]> {
  const shards = Array.from({ length: mailboxShards }, (_, shard) => index.claim(shard, nowMs, 100_000));
  return (await Promise.all(shards)).flat();
}

test('a mailbox is due when it was put, not before', async () => {
  await due.put(REF, NOW);
  expect(await due.nextDue(REF)).toBe(NOW);
  expect(await due.claim(SHARD, NOW - 1, 10)).toEqual([]);
  expect(await due.claim(SHARD, NOW, 10)).toEqual([{ ...REF, dueMs: NOW }]);
});

test('what was claimed comes due again by itself, should nobody put its next time', async () => {
  await due.put(REF, NOW);
  await due.claim(SHARD, NOW + 5, 10);
  expect(await due.nextDue(REF)).toBe(NOW + 5 + claimMs);
  expect(await due.claim(SHARD, NOW + 4 + claimMs, 10)).toEqual([]);
  expect(await due.claim(SHARD, NOW + 5 + claimMs, 10)).toEqual([{ ...REF, dueMs: NOW + 5 + claimMs }]);
});

test('the next time that is put at the end of a run stands, and there is one entry of a mailbox', async () => {
  await due.put(REF, NOW);
  await due.claim(SHARD, NOW, 10);
  await due.put(REF, NOW + 1000);
  expect(await due.nextDue(REF)).toBe(NOW + 1000);
  expect(await due.claim(SHARD, NOW + 10 * claimMs, 10)).toHaveLength(1);
});

test('a mailbox that was removed is not due any more, nor does a claim bring it back', async () => {
  await due.put(REF, NOW);
  await due.remove(REF);
  expect(await due.nextDue(REF)).toBeNull();
  expect(await due.claim(SHARD, NOW, 10)).toEqual([]);
  await due.remove(REF);
  expect(await redis.keys('*')).toEqual([]);
});

test('the longest overdue come first, and no more than asked for', async () => {
  const refs = Array.from({ length: 400 }, (_, number) => refOf(number)).filter(
    ({ mailbox }) => shardOf(mailbox) === SHARD,
  );
  await Promise.all(refs.map((ref, place) => due.put(ref, NOW - place)));
  const claimed = await due.claim(SHARD, NOW, 10);
  expect(claimed).toEqual(
    refs
      .map((ref, place) => ({ ...ref, dueMs: NOW - place }))
      .slice(-10)
      .toReversed(),
  );
  expect(await due.claim(SHARD, NOW, 1_000)).toHaveLength(refs.length - 10);
});

test('the same mailbox of two tenants is two, and a tenant may have any name', async () => {
  const tenants = ['a/b', 'mbx_1', 'other', 'ümlaut {x}'];
  for (const tenant of tenants) await due.put({ ...REF, tenant }, NOW);
  expect((await due.claim(SHARD, NOW, 10)).map(({ tenant }) => tenant).toSorted()).toEqual(tenants);
});

test('of many who claim at once, each mailbox is handed out to one', async () => {
  const refs = Array.from({ length: 2_000 }, (_, number) => refOf(number));
  await Promise.all(refs.map((ref) => due.put(ref, NOW)));
  const clients = Array.from({ length: 4 }, () => new Redis(server.url));
  const claims = clients.map(async (client) => {
    const index = createDueIndex(client);
    const mine: DueMailbox[] = [];
    for (let shard = 0; shard < mailboxShards; shard += 1) {
      for (;;) {
        const batch = await index.claim(shard, NOW, 7);
        if (batch.length === 0) break;
        mine.push(...batch);
      }
    }
    return mine;
  });
  const all = (await Promise.all(claims)).flat().map(({ mailbox }) => mailbox);
  for (const client of clients) client.disconnect();
  expect(all.toSorted()).toEqual(refs.map(({ mailbox }) => mailbox).toSorted());
});

test('mailboxes are spread evenly over the shards', () => {
  const counts: number[] = Array(mailboxShards).fill(0);
  for (let number = 0; number < 16_000; number += 1) counts[shardOf(`mbx_${number}`)]! += 1;
  for (const count of counts) expect(Math.abs(count / (16_000 / mailboxShards) - 1)).toBeLessThan(0.1);
});

test('it outlives the server', async () => {
  await due.put(REF, NOW);
  await server.kill('SIGTERM');
  await server.restart();
  expect(await due.nextDue(REF)).toBe(NOW);
  expect(await due.claim(SHARD, NOW, 10)).toHaveLength(1);
});

test('one turn at a time, which a release makes free soon, and a death after some seconds', async () => {
  const { turn } = dueKeys(0);
  expect(await due.takeTurn(0, 'a')).toBe(true);
  expect(await due.takeTurn(0, 'b')).toBe(false);
  expect(await due.takeTurn(1, 'b')).toBe(true);
  expect(await redis.pttl(turn)).toBeGreaterThan(turnMs - 1_000);
  await redis.pexpire(turn, 1_000);
  expect(await due.takeTurn(0, 'a')).toBe(true);
  expect(await redis.pttl(turn)).toBeGreaterThan(turnMs - 1_000);
  await due.endTurn(0, 'b');
  expect(await redis.pttl(turn)).toBeGreaterThan(turnMs - 1_000);
  await due.endTurn(0, 'a');
  const restMs = await redis.pttl(turn);
  expect(restMs).toBeLessThanOrEqual(turnRestMs);
  expect(await due.takeTurn(0, 'a')).toBe(false);
  await expect.poll(() => due.takeTurn(0, 'b'), { interval: 5 }).toBe(true);
});

test('a mailbox takes up no more than its bound', async () => {
  const count = 20_000;
  for (let number = 0; number < count; number += 1000) {
    await Promise.all(Array.from({ length: 1000 }, (_, place) => due.put(refOf(number + place), NOW + place)));
  }
  const shards = Array.from({ length: mailboxShards }, (_, shard) => dueKeys(shard).mailboxes);
  const bytes = await Promise.all(shards.map(async (key) => (await redis.memory('USAGE', key, 'SAMPLES', 0)) ?? 0));
  expect(bytes.reduce((sum, each) => sum + each, 0) / count).toBeLessThan(MEMBER_BYTES_MAX);
  expect(await claimAll(due, NOW + 1000)).toHaveLength(count);
});
