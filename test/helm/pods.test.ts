/** What every pod of the chart keeps to: the restricted Pod Security Standard, and how it is started, probed and ended. */
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import type { IPodTemplateSpec } from 'kubernetes-models/v1/PodTemplateSpec';
import { beforeAll, describe, expect, it } from 'vitest';
import { cutShare } from '../../src/fetch/limits.ts';
import { attemptTimeoutMs } from '../../src/webhook/limits.ts';
import { render, type Manifest } from '../support/helm.ts';
import { find, podOf, podsOf, type PodOf } from './pods.ts';
import { MINIMAL, VALUE_SETS } from './value-sets.ts';

const SETS = Object.keys(VALUE_SETS);
const rendered = new Map<string, Manifest[]>();

beforeAll(async () => {
  for (const [name, values] of Object.entries(VALUE_SETS)) rendered.set(name, await render(values));
});

const objectsOf = (set: string): Manifest[] => rendered.get(set) ?? [];
const runsPopbridge = (set: string): PodOf[] =>
  podsOf(objectsOf(set)).filter(({ pod }) => pod.metadata?.labels?.['runs'] === 'popbridge');

/**
 * Kubernetes' own list of what the restricted standard (and the baseline that it stands on) forbids. Fields are read as the
 * admission controller reads them: what a container does not say, the pod says for it.
 */
function violations({ spec }: IPodTemplateSpec): string[] {
  if (!spec) return ['no spec'];
  const found: string[] = [];
  const containers: readonly IContainer[] = [
    ...spec.containers,
    ...(spec.initContainers ?? []),
    ...((spec.ephemeralContainers ?? []) as IContainer[]),
  ];
  if (spec.hostNetwork || spec.hostPID || spec.hostIPC) found.push('host namespaces');
  if (spec.hostUsers === true) found.push('host users');
  if (spec.securityContext?.sysctls?.length) found.push('sysctls');
  for (const { name, ...source } of spec.volumes ?? []) {
    const kind = Object.keys(source)[0] ?? '';
    if (!ALLOWED_VOLUMES.has(kind)) found.push(`volume ${name} of kind ${kind}`);
  }
  for (const { name, securityContext: own, ports, ...handlers } of containers) {
    const both = { ...spec.securityContext, ...own };
    const profile = both.appArmorProfile?.type;
    if (profile && !['RuntimeDefault', 'Localhost'].includes(profile)) found.push(`${name} is out of AppArmor`);
    const { type, user, role } = both.seLinuxOptions ?? {};
    if ((type && !SELINUX_TYPES.has(type)) || user || role) found.push(`${name} has SELinux options`);
    if (both.windowsOptions?.hostProcess) found.push(`${name} is a process of the host`);
    const asked = [handlers.startupProbe, handlers.readinessProbe, handlers.livenessProbe];
    const called = [handlers.lifecycle?.preStop, handlers.lifecycle?.postStart];
    if ([...asked, ...called].some((handler) => handler?.httpGet?.host ?? handler?.tcpSocket?.host)) {
      found.push(`${name} has others asked in its name`);
    }
    if (both.runAsNonRoot !== true) found.push(`${name} may run as root`);
    if (both.runAsUser === 0) found.push(`${name} runs as root`);
    if (!['RuntimeDefault', 'Localhost'].includes(both.seccompProfile?.type ?? ''))
      found.push(`${name} has no seccomp`);
    if (own?.privileged) found.push(`${name} is privileged`);
    if (own?.allowPrivilegeEscalation !== false) found.push(`${name} may escalate`);
    if (!own?.capabilities?.drop?.includes('ALL')) found.push(`${name} keeps capabilities`);
    if (own?.capabilities?.add?.some((each) => each !== 'NET_BIND_SERVICE')) found.push(`${name} adds capabilities`);
    if (own?.procMount && own.procMount !== 'Default') found.push(`${name} unmasks /proc`);
    if (ports?.some(({ hostPort }) => hostPort)) found.push(`${name} has a port of the host`);
  }
  return found;
}
const SELINUX_TYPES = new Set(['container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t']);
const ALLOWED_VOLUMES = new Set(
  'configMap csi downwardAPI emptyDir ephemeral persistentVolumeClaim projected secret'.split(' '),
);

describe.each(SETS)('with the values for %s', (set) => {
  it('every pod keeps to the restricted standard', () => {
    const found = podsOf(objectsOf(set)).flatMap(({ owner, pod }) =>
      violations(pod).map((what) => `${owner.metadata.name}: ${what}`),
    );
    expect(found).toEqual([]);
    const kinds = objectsOf(set).map(({ kind }) => kind);
    expect(podsOf(objectsOf(set))).toHaveLength(
      kinds.filter((kind) => ['Deployment', 'StatefulSet', 'Pod', 'Job', 'CronJob', 'DaemonSet'].includes(kind)).length,
    );
  });

  it('no pod writes to its root file system, has a token, or is told of other Services', () => {
    for (const { pod } of podsOf(objectsOf(set))) {
      expect(pod.spec?.containers.map(({ securityContext }) => securityContext?.readOnlyRootFilesystem)).toEqual([
        true,
      ]);
      expect(pod.spec?.automountServiceAccountToken).toBe(false);
      expect(pod.spec?.enableServiceLinks).toBe(false);
    }
    const accounts = objectsOf(set).filter(({ kind }) => kind === 'ServiceAccount');
    for (const account of accounts) expect(account['automountServiceAccountToken']).toBe(false);
  });

  it('every container says what it needs, and what memory it may have', () => {
    for (const { pod } of podsOf(objectsOf(set))) {
      for (const { resources } of pod.spec?.containers ?? []) {
        expect(Object.keys(resources?.requests ?? {}).toSorted()).toEqual(['cpu', 'memory']);
        expect(resources?.limits).toHaveProperty('memory');
      }
    }
  });

  it('popbridge is asked over HTTP whether it has started, is ready, and gets on', () => {
    for (const { pod } of runsPopbridge(set)) {
      const { startupProbe, readinessProbe, livenessProbe, ports } = pod.spec?.containers[0] ?? {};
      const probes = [startupProbe, readinessProbe, livenessProbe];
      expect(probes.map((probe) => probe?.httpGet)).toEqual(
        ['/startupz', '/readyz', '/livez'].map((path) => ({ path, port: 'http' })),
      );
      expect(ports).toContainEqual({ name: 'http', containerPort: 8110 });
    }
  });

  it('popbridge is not killed while it drains, and has longer to drain than its longest step takes', () => {
    for (const { pod } of runsPopbridge(set)) {
      const [container] = pod.spec?.containers ?? [];
      const value = container?.env?.find(({ name }) => name === 'POPBRIDGE_SHUTDOWN_SECONDS')?.value;
      const drainSeconds = Number(value) + (container?.lifecycle?.preStop?.sleep?.seconds ?? 0);
      // main.ts: what a drain may take beyond the setting before the process ends without it.
      expect(pod.spec?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(drainSeconds + 10);
      const role = container?.env?.find(({ name }) => name === 'POPBRIDGE_ROLE')?.value;
      if (role !== 'api') expect(Number(value) * 1000 * cutShare).toBeGreaterThan(attemptTimeoutMs);
    }
  });

  it('Services, budgets, spreads and policies select pods that there are', () => {
    const labels = podsOf(objectsOf(set)).map(({ pod }) => pod.metadata?.labels ?? {});
    for (const selector of selectorsIn(objectsOf(set))) {
      expect(labels.some((each) => Object.entries(selector).every(([name, value]) => each[name] === value))).toBe(true);
    }
  });
});

/** Of objects that select pods of the release. */
function selectorsIn(manifests: readonly Manifest[]): Record<string, string>[] {
  return manifests.flatMap(({ kind, ...rest }) => {
    const spec = rest['spec'] as Record<string, Record<string, unknown>> | undefined;
    if (kind === 'Service') return [spec?.['selector'] as Record<string, string>];
    if (kind === 'NetworkPolicy') return [spec?.['podSelector']?.['matchLabels'] as Record<string, string>];
    if (['Deployment', 'StatefulSet', 'PodDisruptionBudget'].includes(kind)) {
      return [spec?.['selector']?.['matchLabels'] as Record<string, string>];
    }
    return [];
  });
}

it('the check of the standard finds what breaks it', () => {
  const [first] = podsOf(objectsOf('minimal'));
  /** @param edit what becomes of the pod's, or its container's, fields. */
  const change = (edit: (spec: IPodSpec, container: IContainer) => void): string[] => {
    const { spec } = structuredClone(first?.pod) ?? {};
    const container = spec?.containers[0];
    if (!spec || !container) throw new Error('no container');
    edit(spec, container);
    return violations({ spec });
  };
  const own = (container: IContainer): object => container.securityContext ?? {};
  expect(change(() => undefined)).toEqual([]);
  expect(change((spec) => void Object.assign(spec.securityContext ?? {}, { runAsNonRoot: false }))).toHaveLength(1);
  expect(change((spec) => void Object.assign(spec.securityContext ?? {}, { seccompProfile: {} }))).toHaveLength(1);
  expect(change((spec) => void Object.assign(spec.securityContext ?? {}, { runAsUser: 0 }))).toHaveLength(1);
  expect(change((_, container) => void delete container.securityContext)).toHaveLength(2);
  expect(change((_, container) => void Object.assign(own(container), { privileged: true }))).toHaveLength(1);
  expect(change((_, container) => void container.securityContext?.capabilities?.drop?.pop())).toHaveLength(1);
  expect(change((spec) => void spec.volumes?.push({ name: 'host', hostPath: { path: '/' } }))).toHaveLength(1);
  expect(change((spec) => void Object.assign(spec, { hostNetwork: true }))).toHaveLength(1);
  for (const more of [
    { appArmorProfile: { type: 'Unconfined' } },
    { seLinuxOptions: { type: 'spc_t' } },
    { seLinuxOptions: { role: 'r' } },
    { windowsOptions: { hostProcess: true } },
  ]) {
    expect(change((spec) => void Object.assign(spec.securityContext ?? {}, more))).toHaveLength(1);
  }
  const elsewhere = { httpGet: { host: '169.254.169.254', port: 80 } };
  expect(change((_, container) => void Object.assign(container, { livenessProbe: elsewhere }))).toHaveLength(1);
  expect(change((spec) => void Object.assign(spec, { initContainers: [{ name: 'setup' }] }))).toHaveLength(2);
});

it('runs as user 65532 unless the cluster chooses', () => {
  expect(podOf(objectsOf('minimal'), 'worker').spec?.securityContext).toMatchObject({
    runAsUser: 65_532,
    fsGroup: 65_532,
  });
  expect(podOf(objectsOf('OpenShift, without policies, tests and metrics'), 'worker').spec?.securityContext).toEqual({
    runAsNonRoot: true,
    fsGroupChangePolicy: 'OnRootMismatch',
    seccompProfile: { type: 'RuntimeDefault' },
  });
});

it('pods are replaced when a setting or a secret changes, and only then', async () => {
  const values = VALUE_SETS['Cluster with everything given as values'] as { redis: object };
  const checksums = async (more: object): Promise<unknown> => {
    const { annotations } = podOf(await render({ ...values, ...more }), 'api').metadata ?? {};
    return [annotations?.['checksum/config'], annotations?.['checksum/secret']];
  };
  const before = (await checksums({})) as string[];
  expect(await checksums({ worker: { replicas: 5 } })).toEqual(before);
  expect(await checksums({ settings: { POPBRIDGE_RETENTION_DAYS: 3 } })).toEqual([
    expect.not.stringMatching(before[0] ?? ''),
    before[1],
  ]);
  expect(await checksums({ redis: { ...values.redis, password: 'other' } })).toEqual([
    before[0],
    expect.not.stringMatching(before[1] ?? ''),
  ]);
});

it('a scaled Deployment leaves the number of its pods to the autoscaler', () => {
  const scaled = objectsOf('scaled by CPU and memory');
  for (const component of ['api', 'worker']) {
    expect(find(scaled, 'Deployment', `mail-popbridge-${component}`)['spec']).not.toHaveProperty('replicas');
    expect(find(scaled, 'HorizontalPodAutoscaler', `mail-popbridge-${component}`)['spec']).toMatchObject({
      scaleTargetRef: { kind: 'Deployment', name: `mail-popbridge-${component}` },
    });
  }
  const keda = objectsOf('scaled by Prometheus and watched');
  expect(find(keda, 'Deployment', 'mail-popbridge-worker')['spec']).not.toHaveProperty('replicas');
  expect(find(keda, 'ScaledObject')['spec']).toMatchObject({ scaleTargetRef: { name: 'mail-popbridge-worker' } });
});

it('one pod at a time has a volume that one node has to itself', () => {
  const [alone, shared] = ['one Deployment with a volume', 'trying out in one Deployment'].map((set) =>
    find(objectsOf(set), 'Deployment'),
  );
  expect(alone?.['spec']).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } });
  expect(shared?.['spec']).toMatchObject({ strategy: { type: 'RollingUpdate' } });
  expect(find(objectsOf('one Deployment with a volume'), 'PersistentVolumeClaim')).toMatchObject({
    metadata: { annotations: { 'helm.sh/resource-policy': 'keep' } },
    spec: { storageClassName: 'fast', resources: { requests: { storage: '50Gi' } } },
  });
});

it('pods are spread over zones and nodes by the labels that select them, and placed where the values say', () => {
  const { spec, metadata } = podOf(objectsOf('every setting and every place'), 'worker');
  const labels = metadata?.labels ?? {};
  expect(spec?.topologySpreadConstraints?.map(({ topologyKey }) => topologyKey)).toEqual([
    'topology.kubernetes.io/zone',
    'kubernetes.io/hostname',
  ]);
  for (const { labelSelector } of spec?.topologySpreadConstraints ?? []) {
    expect(labels).toMatchObject(labelSelector?.matchLabels ?? { none: '' });
  }
  expect(spec).toMatchObject({
    priorityClassName: 'important',
    nodeSelector: { disk: 'fast' },
    affinity: {},
    tolerations: [{}],
  });
  expect(labels).toMatchObject({ team: 'mail' });
});

it('master keys are mounted as a file that others of the machine cannot read', () => {
  const { spec } = podOf(objectsOf('Sentinel with TLS, ACL users and a private S3'), 'worker');
  expect(spec?.volumes).toContainEqual({
    name: 'master-keys',
    secret: { secretName: 'popbridge-keys', defaultMode: 0o440, items: [{ key: 'master', path: 'master-keys' }] },
  });
});

it('only popbridge has the account that may have a role in the cloud', () => {
  const accounts = podsOf(objectsOf('trying out')).map(({ pod }) => [
    pod.metadata?.labels?.['app.kubernetes.io/component'],
    pod.spec?.serviceAccountName,
  ]);
  expect(Object.fromEntries(accounts)).toEqual({
    api: 'mail-popbridge',
    worker: 'mail-popbridge',
    valkey: undefined,
    test: undefined,
  });
});

it('workers have no part in the Service of the API', async () => {
  expect(find(await render(MINIMAL), 'Service', 'mail-popbridge')['spec']).toMatchObject({
    selector: { 'app.kubernetes.io/component': 'api' },
  });
});
