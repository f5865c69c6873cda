/** Values that helm refuses, and what it says: nothing is installed that cannot work. */
import { expect, it } from 'vitest';
import { HELM_VERSIONS, refusal, render } from '../support/helm.ts';
import { MINIMAL, VALUE_SETS } from './value-sets.ts';

const TRY_OUT = VALUE_SETS['trying out'] as { keys: object; valkey: object; blobs: object };
const REDIS_AT = MINIMAL.networkPolicy;
const HOSTS = { hosts: ['redis:6379'], existingSecret: 'redis' };
const PROMETHEUS = { serverAddress: 'http://prometheus:9090' };

/** By what is wrong: the values, and what the answer must name, so that one knows what to do. */
const CONTRADICTIONS: Readonly<Record<string, [values: object, says: string | readonly string[]]>> = {
  'no keys at all': [
    { ...MINIMAL, keys: {} },
    ['keys.operatorKey is missing', 'keys.masterKeys is missing', 'openssl rand'],
  ],
  'no master key': [{ ...MINIMAL, keys: { operatorKey: 'pbk_0123456789abcdef' } }, 'keys.masterKeys is missing'],
  'a key twice': [{ ...TRY_OUT, keys: { ...TRY_OUT.keys, existingSecret: 'k' } }, 'leave one of them out'],
  'an external secret without its keys': [
    {
      ...TRY_OUT,
      keys: {},
      valkey: { enabled: true, existingSecret: 'v' },
      externalSecret: { enabled: true, store: { name: 's' }, data: [{ secretKey: 'x', remoteRef: { key: 'x' } }] },
    },
    'externalSecret.data',
  ],
  'an external secret without a store': [
    { ...MINIMAL, externalSecret: { enabled: true } },
    ['externalSecret.store.name', 'externalSecret.data is empty'],
  ],
  'an external secret beside values': [
    {
      ...TRY_OUT,
      externalSecret: { enabled: true, store: { name: 's' }, data: [{ secretKey: 'x', remoteRef: { key: 'x' } }] },
    },
    'the operator writes the Secret',
  ],
  'no Redis': [{ ...MINIMAL, redis: {} }, ['there is no Redis', 'valkey.enabled=true']],
  'two of them': [{ ...TRY_OUT, redis: HOSTS, networkPolicy: REDIS_AT }, 'popbridge has one Redis'],
  'Valkey and a Secret of another': [{ ...TRY_OUT, redis: { existingSecret: 'r' } }, 'popbridge has one Redis'],
  'Valkey as a cluster': [{ ...TRY_OUT, redis: { mode: 'cluster' } }, 'redis.mode is cluster'],
  'several servers as one': [{ ...MINIMAL, redis: { ...HOSTS, hosts: ['a:1', 'b:1'] } }, 'redis.mode is single'],
  'several URLs as one': [{ ...MINIMAL, redis: { url: 'redis://a,redis://b' } }, 'redis.mode is single'],
  'Sentinel without a name': [{ ...MINIMAL, redis: { ...HOSTS, mode: 'sentinel' } }, 'redis.sentinel.name is missing'],
  'a name for no Sentinel': [{ ...MINIMAL, redis: { ...HOSTS, sentinel: { name: 'm' } } }, 'redis.sentinel has values'],
  'a password of sentinels in no Secret': [
    { ...MINIMAL, redis: { hosts: ['a:1'], mode: 'sentinel', sentinel: { name: 'm', passwordInSecret: true } } },
    'name that Secret',
  ],
  'a user beside a URL': [{ ...MINIMAL, redis: { existingSecret: 'r', username: 'u' } }, 'are for redis.hosts'],
  'a user without a password': [
    { ...MINIMAL, redis: { hosts: ['a:1'], username: 'u' } },
    'redis.username has no password',
  ],
  'two CAs': [
    { ...MINIMAL, redis: { existingSecret: 'r', ca: { existingSecret: 'a', existingConfigMap: 'b' } } },
    'redis.ca',
  ],
  'a CA without TLS': [{ ...MINIMAL, redis: { ...HOSTS, ca: { existingSecret: 'a' } } }, 'redis.tls=true'],
  'Valkey with several pods': [{ ...TRY_OUT, valkey: { ...TRY_OUT.valkey, replicas: 3 } }, 'valkey.replicas is 3'],
  'mail that leaves Valkey no room': [
    { ...TRY_OUT, valkey: { ...TRY_OUT.valkey, maxmemory: '300mb' } },
    'more than three quarters of valkey.maxmemory (300mb)',
  ],
  'Valkey without a password': [{ ...TRY_OUT, valkey: { enabled: true } }, 'valkey.password is missing'],
  'Valkey that evicts': [
    { ...TRY_OUT, valkey: { ...TRY_OUT.valkey, config: { 'maxmemory-policy': 'allkeys-lru' } } },
    'noeviction',
  ],
  'Valkey without its file': [
    { ...TRY_OUT, valkey: { ...TRY_OUT.valkey, config: { appendonly: 'no' } } },
    'append-only file',
  ],
  'Valkey on another port': [
    { ...TRY_OUT, valkey: { ...TRY_OUT.valkey, config: { port: 7000 } } },
    'which the chart sets',
  ],
  'S3 without a bucket': [{ ...MINIMAL, blobs: {} }, 'blobs.s3.bucket is missing'],
  'a bucket that is not used': [
    { ...TRY_OUT, blobs: { store: 'redis', s3: { bucket: 'mail' } } },
    'blobs.s3 has values',
  ],
  'half of the credentials': [{ ...MINIMAL, blobs: { s3: { bucket: 'mail', accessKeyId: 'A' } } }, 'only accessKeyId'],
  'files with split roles': [
    { ...TRY_OUT, blobs: { store: 'file' } },
    ['mode is split', 'ReadWriteMany', 'blobs.store=s3'],
  ],
  'files with several pods': [
    { ...TRY_OUT, mode: 'all', blobs: { store: 'file' }, all: { replicas: 2 } },
    'all.replicas is 2',
  ],
  'files with pods that overlap': [
    { ...TRY_OUT, mode: 'all', blobs: { store: 'file' }, all: { strategy: { type: 'RollingUpdate' } } },
    'Use Recreate',
  ],
  'a grace shorter than the drain': [
    { ...MINIMAL, worker: { shutdownSeconds: 60, terminationGracePeriodSeconds: 60 } },
    'Set it to 70',
  ],
  'a grace that forgets the pause before': [
    { ...MINIMAL, api: { shutdownSeconds: 30, preStopSeconds: 20, terminationGracePeriodSeconds: 45 } },
    'Set it to 60',
  ],
  'a setting in the environment': [
    { ...MINIMAL, api: { extraEnv: [{ name: 'POPBRIDGE_LOG_LEVEL', value: 'x' }] } },
    'belong under settings',
  ],
  'KEDA and HPA at once': [
    { ...MINIMAL, worker: { autoscaling: { enabled: true }, keda: { enabled: true, prometheus: PROMETHEUS } } },
    'two autoscalers',
  ],
  'KEDA where the roles are not split': [
    { ...TRY_OUT, mode: 'all', worker: { keda: { enabled: true, source: 'redis' } } },
    'mode=split',
  ],
  'HPA where the roles are not split': [
    { ...TRY_OUT, mode: 'all', api: { autoscaling: { enabled: true } } },
    'mode=split',
  ],
  'fewest pods above most': [
    { ...MINIMAL, api: { autoscaling: { enabled: true, minReplicas: 11 } } },
    'more than maxReplicas',
  ],
  'an autoscaler that goes by nothing': [
    { ...MINIMAL, api: { autoscaling: { enabled: true, cpuPercent: 0 } } },
    'goes by nothing',
  ],
  'percent of nothing': [
    { ...MINIMAL, api: { autoscaling: { enabled: true }, resources: { requests: { cpu: null } } } },
    'resources.requests has none',
  ],
  'KEDA without a Prometheus': [{ ...MINIMAL, worker: { keda: { enabled: true } } }, 'serverAddress is missing'],
  'KEDA by metrics that are off': [
    { ...MINIMAL, metrics: { enabled: false }, worker: { keda: { enabled: true, prometheus: PROMETHEUS } } },
    'metrics.enabled is false',
  ],
  'KEDA by a Redis that it cannot find': [
    { ...MINIMAL, worker: { keda: { enabled: true, source: 'redis' } } },
    'redis.hosts',
  ],
  'KEDA by a Redis without a password': [
    { ...MINIMAL, redis: { hosts: ['a:1'] }, worker: { keda: { enabled: true, source: 'redis' } } },
    'no password that KEDA',
  ],
  'KEDA with a password that two write differently': [
    { ...MINIMAL, redis: { hosts: ['a:1'], password: 'p@ss' }, worker: { keda: { enabled: true, source: 'redis' } } },
    'choose one of letters and digits',
  ],
  'KEDA with a CA that it cannot read': [
    {
      ...MINIMAL,
      redis: { ...HOSTS, tls: true, ca: { existingConfigMap: 'c' } },
      worker: { keda: { enabled: true, source: 'redis' } },
    },
    'redis.ca.existingSecret',
  ],
  'alerts without metrics': [
    { ...MINIMAL, metrics: { enabled: false, rules: { enabled: true } } },
    'metrics.rules is enabled',
  ],
  'an alert that is none': [
    { ...MINIMAL, metrics: { rules: { disabled: ['Popbridge'] } } },
    'is no alert of the chart',
  ],
  'one port twice': [{ ...MINIMAL, metrics: { port: 8110 } }, 'take another'],
  'a route without a gateway': [{ ...MINIMAL, httpRoute: { enabled: true } }, 'httpRoute.parentRefs is empty'],
  'policies without a place for Redis': [
    { ...MINIMAL, networkPolicy: {} },
    ['networkPolicy.redis.to is empty', 'networkPolicy.enabled=false'],
  ],
  'policies without a place for S3': [
    { ...MINIMAL, blobs: { s3: { bucket: 'mail', endpoint: 'http://minio:9000' } } },
    'networkPolicy.s3.to is empty',
  ],
  'policies without a place for traces': [
    { ...MINIMAL, tracing: { endpoint: 'http://c:4318' } },
    'networkPolicy.collector.to is empty',
  ],
  'policies without a place for the proxy': [
    { ...MINIMAL, egress: { proxy: { url: 'http://p:3128' } } },
    'networkPolicy.proxy.to is empty',
  ],
};

it.each(Object.entries(CONTRADICTIONS))('%s: refused, and what to do is said', async (_, [values, says]) => {
  const said = await refusal(values);
  expect(said).toContain('these values do not go together');
  for (const each of [says].flat()) expect(said).toContain(each);
});

it.each(HELM_VERSIONS)('helm %i tells all that is wrong at once', async (version) => {
  const said = await refusal({}, version);
  for (const each of ['keys.operatorKey', 'keys.masterKeys', 'no Redis', 'blobs.s3.bucket'])
    expect(said).toContain(each);
});

/** By what is wrong: the values, and the field that the answer must name. */
const WRONG: Readonly<Record<string, [values: object, names: string]>> = {
  'an unknown value': [{ replica: 2 }, 'replica'],
  'an unknown value below': [{ worker: { keda: { enable: true } } }, 'enable'],
  'an unknown role': [{ mode: 'both' }, 'mode'],
  'a number as text': [{ api: { replicas: '2' } }, 'replicas'],
  'an operator key that is too short': [{ keys: { operatorKey: 'short' } }, 'operatorKey'],
  'master keys that are none': [{ keys: { masterKeys: 'secret' } }, 'masterKeys'],
  'an unknown setting': [{ settings: { POPBRIDGE_FETCH_CONCURENCY: 5 } }, 'POPBRIDGE_FETCH_CONCURENCY'],
  'a setting out of bounds': [{ settings: { POPBRIDGE_FETCH_CONCURRENCY: 5000 } }, 'POPBRIDGE_FETCH_CONCURRENCY'],
  'a setting that has a value of its own': [{ settings: { POPBRIDGE_PORT: 80 } }, 'POPBRIDGE_PORT'],
  'a Redis of another kind': [{ redis: { url: 'http://redis' } }, 'url'],
  'a host without a port': [{ redis: { hosts: ['redis'] } }, 'hosts'],
  'a worker that has no time for a delivery': [{ worker: { shutdownSeconds: 10 } }, 'shutdownSeconds'],
  'a port below 1024 for a user who may not': [{ metrics: { port: 80 } }, 'port'],
  root: [{ podSecurity: { runAsUser: 0 } }, 'runAsUser'],
  'a password that a URL cannot hold': [{ valkey: { password: 'p@ss word' } }, 'password'],
  'a peer that is none': [{ networkPolicy: { redis: { to: [{ cidr: '10.0.0.0/8' }] } } }, 'cidr'],
  'a Secret name that is none': [{ keys: { existingSecret: 'My Secret' } }, 'existingSecret'],
  'a variable without a name': [{ api: { extraEnv: [{ value: 'x' }] } }, 'extraEnv'],
};

it.each(Object.entries(WRONG))('%s: refused by the schema of the values', async (_, [values, names]) => {
  const said = await refusal({ ...MINIMAL, ...values });
  expect(said).toContain("values don't meet the specifications of the schema");
  expect(said).toContain(names);
  expect(await refusal({ ...MINIMAL, ...values }, 3)).toContain(names);
});

it('what is refused in one place is taken where it makes sense', async () => {
  const volatile = { ...TRY_OUT.valkey, config: { appendonly: 'no' } };
  await render({ ...TRY_OUT, valkey: volatile, redis: { allowVolatile: true } });
  await render({
    ...TRY_OUT,
    mode: 'all',
    blobs: { store: 'file', file: { accessModes: ['ReadWriteMany'] } },
    all: { replicas: 2 },
  });
  await render({ ...MINIMAL, networkPolicy: { enabled: false }, tracing: { endpoint: 'http://c:4318' } });
  await render({ ...MINIMAL, global: { anything: true } });
});
