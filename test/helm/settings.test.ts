/** The environment that the chart gives popbridge, held against the settings that popbridge reads: the two cannot drift. */
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config/config.ts';
import { settingsSchema } from '../../src/config/settings.ts';
import { render, type Manifest } from '../support/helm.ts';
import { SET_BY_THE_CHART } from './chart-docs.ts';
import { find, podsOf, type PodOf } from './pods.ts';
import { VALUE_SETS } from './value-sets.ts';

/** In the chart's list, and never given to a pod: keys are mounted, and the image has no Redis server. */
const NEVER_SET = new Set(['POPBRIDGE_MASTER_KEYS', 'POPBRIDGE_REDIS_SERVER']);

const SETTINGS = new Set(Object.keys(settingsSchema.properties));
const rendered = new Map<string, Manifest[]>();

beforeAll(async () => {
  for (const [name, values] of Object.entries(VALUE_SETS)) rendered.set(name, await render(values));
});

const objectsOf = (set: string): Manifest[] => rendered.get(set) ?? [];

/** What a Secret that is not in the chart has under an entry. */
const OUTSIDE: Readonly<Record<string, string>> = {
  'redis-url': 'rediss://user:password@redis.example.com:6379',
  'egress-proxy': 'http://proxy.example.com:3128',
};

/** As a container of the pod has it: the ConfigMap, then `env` in order, with `$(NAME)` of what came before filled in. */
function environmentOf(manifests: readonly Manifest[], { pod }: PodOf): Record<string, string> {
  const container = pod.spec?.containers[0];
  const env: Record<string, string> = {};
  for (const { configMapRef } of container?.envFrom ?? []) {
    Object.assign(env, find(manifests, 'ConfigMap', configMapRef?.name)['data']);
  }
  const secrets = new Map(
    manifests
      .filter(({ kind }) => kind === 'Secret')
      .map((secret) => [secret.metadata.name, secret['stringData'] as object]),
  );
  for (const { name, value, valueFrom } of container?.env ?? []) {
    const ref = valueFrom?.secretKeyRef;
    const entries = secrets.get(ref?.name ?? '') as Record<string, string> | undefined;
    // One that the chart makes must have the entry; of others it is taken for granted.
    const secret = entries ? entries[ref?.key ?? ''] : (OUTSIDE[ref?.key ?? ''] ?? 'a-secret-from-outside');
    const text = valueFrom ? secret : value;
    if (text === undefined) throw new Error(`${name} is nowhere`);
    env[name] = text.replaceAll(/\$\(([A-Z_]+)\)/g, (whole, other: string) => env[other] ?? whole);
  }
  return env;
}

const pods = (set: string): PodOf[] =>
  podsOf(objectsOf(set)).filter(({ pod }) => pod.metadata?.labels?.['runs'] === 'popbridge');

describe.each(Object.keys(VALUE_SETS))('with the values for %s', (set) => {
  it('popbridge takes the environment of each of its pods', () => {
    for (const each of pods(set)) {
      const env = environmentOf(objectsOf(set), each);
      expect(readConfig(env)).toMatchObject({ port: 8110, dataDir: '/data' });
    }
  });

  it('every variable is a setting, of the AWS SDK, a part of one, or the user has asked for it', () => {
    const names = pods(set).flatMap((each) => Object.keys(environmentOf(objectsOf(set), each)));
    const others = names.filter((name) => !SETTINGS.has(name));
    const allowed = new Set(['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'REDIS_PASSWORD', 'NODE_OPTIONS']);
    expect(others.filter((name) => !allowed.has(name))).toEqual([]);
  });

  it('no secret stands where everybody may read it', () => {
    const open = objectsOf(set).filter(({ kind }) => kind !== 'Secret');
    const secrets = objectsOf(set)
      .filter(({ kind }) => kind === 'Secret')
      .flatMap((secret) => Object.values(secret['stringData'] as Record<string, string>));
    for (const secret of secrets) expect(JSON.stringify(open)).not.toContain(secret);
  });
});

it('every setting has a place in the chart: a value of its own, or one under settings', async () => {
  const schema = JSON.parse(await readFile(new URL('../../helm/values.schema.json', import.meta.url), 'utf8')) as {
    properties: { settings: { properties: object } };
  };
  const free = Object.keys(schema.properties.settings.properties);
  expect([...free, ...SET_BY_THE_CHART].toSorted()).toEqual([...SETTINGS].toSorted());
});

it('every setting that has a value of its own is given to a pod by some set', () => {
  const given = new Set(
    [...rendered.keys()].flatMap((set) =>
      pods(set).flatMap((each) => Object.keys(environmentOf(objectsOf(set), each))),
    ),
  );
  expect([...SET_BY_THE_CHART].filter((name) => !given.has(name) && !NEVER_SET.has(name))).toEqual([]);
});

it('large numbers are written out', () => {
  const { POPBRIDGE_MESSAGE_BYTES_MAX, POPBRIDGE_QUOTA_BYTES } = find(
    objectsOf('every setting and every place'),
    'ConfigMap',
    'bridge',
  )['data'] as Record<string, string>;
  expect([POPBRIDGE_MESSAGE_BYTES_MAX, POPBRIDGE_QUOTA_BYTES]).toEqual(['104857600', '1000000000000']);
  expect(find(objectsOf('trying out'), 'ConfigMap', 'mail-popbridge')['data']).toMatchObject({
    POPBRIDGE_REDIS_BLOBS_BYTES_MAX: '268435456',
  });
});

it.each([
  ['trying out', 'redis://:try-out-password@mail-popbridge-valkey:6379'],
  [
    'Cluster with everything given as values',
    'rediss://pop%20bridge:p%40ss%3Aw%2Ford%20%2B1@a.redis:7000,rediss://pop%20bridge:p%40ss%3Aw%2Ford%20%2B1@b.redis:7001',
  ],
  ['a URL as a value, of a single Redis with TLS', 'rediss://popbridge:secret@redis.example.com:6380/1'],
  ['minimal', OUTSIDE['redis-url']],
  [
    'Sentinel with TLS, ACL users and a private S3',
    ['sentinel-0.redis:26379', 'sentinel-1.redis:26379', 'sentinel-2.redis:26380']
      .map((host) => `rediss://popbridge:a-secret-from-outside@${host}`)
      .join(','),
  ],
])('Redis is found with the values for %s', (set, url) => {
  for (const each of pods(set)) expect(environmentOf(objectsOf(set), each)['REDIS_URL']).toBe(url);
});

it('Sentinels are told apart from what they watch', () => {
  const [first] = pods('Sentinel with TLS, ACL users and a private S3');
  expect(environmentOf(objectsOf('Sentinel with TLS, ACL users and a private S3'), first as PodOf)).toMatchObject({
    POPBRIDGE_REDIS_MODE: 'sentinel',
    POPBRIDGE_REDIS_SENTINEL_NAME: 'mymaster',
    POPBRIDGE_REDIS_SENTINEL_USERNAME: 'watcher',
    POPBRIDGE_REDIS_SENTINEL_PASSWORD: 'a-secret-from-outside',
    POPBRIDGE_REDIS_CA_FILE: '/etc/popbridge/redis-ca/ca.crt',
    POPBRIDGE_REDIS_REPLICAS: '2',
  });
});

it('with an external secret, the operator writes what pods read, and the chart no Secret', () => {
  const manifests = objectsOf('secrets from outside');
  expect(manifests.filter(({ kind }) => kind === 'Secret')).toEqual([]);
  const { target, data } = find(manifests, 'ExternalSecret')['spec'] as {
    target: { name: string };
    data: { secretKey: string }[];
  };
  const written = new Set(data.map(({ secretKey }) => secretKey));
  const refs = podsOf(manifests).flatMap(
    ({ pod }) => pod.spec?.containers[0]?.env?.map(({ valueFrom }) => valueFrom?.secretKeyRef) ?? [],
  );
  const used = refs.filter((ref) => ref !== undefined);
  expect(new Set(used.map(({ name }) => name))).toEqual(new Set([target.name]));
  expect(used.map(({ key }) => key).filter((key) => !written.has(key))).toEqual([]);
  expect(used.map(({ key }) => key)).toContain('egress-proxy');
});
