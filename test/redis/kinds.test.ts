/** From the settings to a connection, with each kind of Redis by TLS; and what is said where the settings name another kind than it is. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RedisClient } from '../../src/redis/client.ts';
import { makeCertificates, type Certificates } from '../support/certificates.ts';
import { connectTo } from '../support/redis-client.ts';
import {
  startAlone,
  startCluster,
  startSentinels,
  type RedisGroup,
  type SentinelGroup,
} from '../support/redis-nodes.ts';
import { HOST } from '../support/server-process.ts';

let certificates: Certificates;
let others: Certificates;
let alone: RedisGroup;
let cluster: RedisGroup;
let sentinels: SentinelGroup;

beforeAll(async () => {
  [certificates, others] = await Promise.all([makeCertificates(), makeCertificates()]);
  [alone, cluster, sentinels] = await Promise.all([
    startAlone({ certificates }),
    startCluster({ certificates }),
    startSentinels({ certificates }),
  ]);
});
afterAll(async () => {
  await Promise.all([alone, cluster, sentinels].map((group) => group?.close()));
  await Promise.all([certificates, others].map((made) => made?.remove()));
});

const groups: [kind: string, () => RedisGroup][] = [
  ['one server', () => alone],
  ['a Redis Cluster', () => cluster],
  ['sentinels and what they lead to', () => sentinels],
];

/** @returns undefined where it connects. */
async function refusalOf(env: Readonly<Record<string, string>>): Promise<unknown> {
  let client: RedisClient | undefined;
  try {
    client = await connectTo({ env });
    return undefined;
  } catch (error) {
    return error;
  } finally {
    client?.disconnect();
  }
}

const refusal = (code: string, words: RegExp) => ({ code, message: expect.stringMatching(words) as unknown });

describe.each(groups)('by TLS, %s', (_kind, groupOf) => {
  test('is trusted by POPBRIDGE_REDIS_CA_FILE, and serves all keys', async () => {
    const client = await connectTo(groupOf());
    try {
      const keys = Array.from({ length: 12 }, (_, at) => `key-${at}`);
      for (const key of keys) await client.set(key, `of ${key}`);
      expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(keys.map((key) => `of ${key}`));
    } finally {
      client.disconnect();
    }
  });

  test('is refused where another authority is named', { timeout: 40_000 }, async () => {
    const env = { ...groupOf().env, POPBRIDGE_REDIS_CA_FILE: others.caPath };
    expect(await refusalOf(env)).toMatchObject(
      refusal('storage_unavailable', /cannot be reached: .*certificate.*POPBRIDGE_REDIS_CA_FILE/),
    );
  });
});

describe('settings of another kind are refused at the start, with the setting to change', () => {
  const only = (port: number, user = '') => ({
    REDIS_URL: `rediss://${user}${HOST}:${port}`,
    POPBRIDGE_REDIS_CA_FILE: certificates.caPath,
  });

  test('where a single URL leads to a node of a cluster', async () => {
    expect(await refusalOf(only(cluster.nodes[0]!.port))).toMatchObject(
      refusal('invalid_config', /a node of a Redis Cluster: set POPBRIDGE_REDIS_MODE to cluster/),
    );
  });

  test('where it leads to a sentinel', async () => {
    const password = encodeURIComponent(sentinels.env['POPBRIDGE_REDIS_SENTINEL_PASSWORD']!);
    expect(await refusalOf(only(sentinels.sentinels[0]!.port, `:${password}@`))).toMatchObject(
      refusal('invalid_config', /a sentinel: set POPBRIDGE_REDIS_MODE to sentinel/),
    );
  });

  test('where a server alone is said to be a cluster', { timeout: 40_000 }, async () => {
    expect(await refusalOf({ ...alone.env, POPBRIDGE_REDIS_MODE: 'cluster' })).toMatchObject(
      refusal('storage_unavailable', /cluster support disabled/),
    );
  });

  test('where the sentinels know no master of that name', { timeout: 40_000 }, async () => {
    expect(await refusalOf({ ...sentinels.env, POPBRIDGE_REDIS_SENTINEL_NAME: 'nobody' })).toMatchObject(
      refusal('storage_unavailable', /nobody/),
    );
  });
});
