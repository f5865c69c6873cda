import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  blobDraftKey,
  blobKeys,
  blobStoreKeys,
  dueKeys,
  durabilityKey,
  fetchKeys,
  hostKeys,
  leaseKeys,
  messageKey,
  queuePrefix,
  queueKeys,
  webhookKeys,
  webhookLineKey,
  webhooksKeys,
} from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

/** CRC16 as CLUSTER KEYSLOT has it, which a server without cluster mode does not answer; of the tag, where there is one. */
function slotOf(key: string): number {
  const tag = /\{([^}]+)\}/.exec(key)?.[1] ?? key;
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
  }
  return crc % 16_384;
}

test('all keys of a fetch, of a lease and of a queue are in one slot each, so that scripts on them work in a Cluster', () => {
  const groups = [
    [...Object.values(fetchKeys('default', 'fch_1')), ...Object.values(webhookKeys('default', 'fch_1'))],
    Object.values(leaseKeys('default', 'mbx_1')),
    Object.values(dueKeys(3)),
    Object.values(webhooksKeys('default')),
    [...Object.values(webhookKeys('default', 'whk_1')), webhookLineKey('default', 'whk_1', 'mbx_1')],
    Object.values(hostKeys('pop.example.com')),
    [queueKeys('fetch').wait, `${queuePrefix('fetch')}:fetch:meta`],
    [blobDraftKey('1'), blobKeys('other', 'blb_2').blob, ...Object.values(blobKeys('default', 'blb_1'))],
    ['wait', 'active', 'delayed', 'meta', 'fch_1'].map((name) => `${queuePrefix('fetch')}:fetch:${name}`),
  ];
  for (const keys of groups) {
    expect(keys.length).toBeGreaterThan(1);
    expect(new Set(keys).size).toBe(keys.length);
    expect(new Set(keys.map(slotOf)).size).toBe(1);
  }
});

test('each resource is in a slot of its own: tenants, fetches and queues spread over a Cluster', () => {
  const records = Array.from({ length: 200 }, (_, number) => fetchKeys('default', `fch_${number}`).record);
  expect(new Set(records.map(slotOf)).size).toBeGreaterThan(190);
  const others = [
    fetchKeys('a', 'fch_1').record,
    fetchKeys('b', 'fch_1').record,
    queuePrefix('fetch'),
    dueKeys(0).mailboxes,
    dueKeys(1).mailboxes,
    queuePrefix('mailboxes-0'),
    queuePrefix('mailboxes-1'),
  ];
  expect(new Set(others.map(slotOf)).size).toBe(others.length);
});

test('the layout, as it stands in the Redis of those who have upgraded', () => {
  expect(fetchKeys('default', 'fch_1')).toEqual({
    record: 'pb:{default/fch_1}:fetch',
    ledger: 'pb:{default/fch_1}:ledger',
    order: 'pb:{default/fch_1}:order',
    credentials: 'pb:{default/fch_1}:credentials',
  });
  expect(webhookKeys('default', 'fch_1').ofFetch).toBe('pb:{default/fch_1}:webhook');
  expect(messageKey('default', 'msg_1')).toBe('pb:{default/msg_1}:message');
  expect(leaseKeys('default', 'mbx_1')).toEqual({
    owner: 'pb:{default/mbx_1}:lease',
    fence: 'pb:{default/mbx_1}:fence',
  });
  expect(blobKeys('default', 'blb_1')).toEqual({ blob: 'pb:{blobs}:blob:default/blb_1', ...blobStoreKeys });
  expect(blobStoreKeys).toEqual({
    written: 'pb:{blobs}:written',
    drafts: 'pb:{blobs}:drafts',
    bytes: 'pb:{blobs}:bytes',
  });
  expect(blobDraftKey('1')).toBe('pb:{blobs}:draft:1');
  expect(dueKeys(3)).toEqual({ mailboxes: 'pb:{due/3}:mailboxes', turn: 'pb:{due/3}:turn' });
  expect(queuePrefix('fetch')).toBe('pb:{queue/fetch}');
  expect(durabilityKey(0)).toBe('pb:{durability}:mark');
});

test('the CRC16 of this test is that of Redis', async () => {
  // The reference value of the Redis Cluster specification.
  expect(slotOf('123456789')).toBe(0x31c3);
  const answer = await redis.cluster('KEYSLOT', 'pb:{default/fch_1}:fetch').catch((error: Error) => error.message);
  expect(['ERR This instance has cluster support disabled', slotOf('pb:{default/fch_1}:fetch')]).toContain(answer);
});
