/**
 * What an API server refuses beside wrong types: names, labels, keys, quantities and, above all, what one part of an object says of another.
 * By Kubernetes' own validation of these kinds, as far as the chart's objects make use of it.
 */
import ipaddr from 'ipaddr.js';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IService } from 'kubernetes-models/v1/Service';
import type { Manifest } from '../support/helm.ts';
import { podsOf, type PodOf } from './pods.ts';

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const SERVICE_NAME = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;
const PORT_NAME = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/;
const LABEL_NAME = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const DATA_KEY = /^[-._A-Za-z0-9]{1,253}$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
};

/** Of the objects of one release. Empty where an API server would take them all. */
export function findRefusals(manifests: readonly Manifest[]): string[] {
  const found = manifests.flatMap((manifest) =>
    [...ofMetadata(manifest), ...ofData(manifest), ...ofSelector(manifest), ...ofNetwork(manifest)].map(
      (what) => `${manifest.kind} ${manifest.metadata.name}: ${what}`,
    ),
  );
  const ofPods = podsOf(manifests).flatMap((each) =>
    [...ofPod(each)].map((what) => `pod of ${each.owner.metadata.name}: ${what}`),
  );
  return [...found, ...ofPods, ...ofServices(manifests)];
}

function* ofMetadata({ kind, metadata }: Manifest): Generator<string> {
  const { name, labels = {}, annotations = {} } = metadata;
  if (!(kind === 'Service' ? SERVICE_NAME : DNS_SUBDOMAIN).test(name)) yield `name ${name}`;
  yield* ofLabels(labels);
  for (const key of Object.keys(annotations)) if (!LABEL_NAME.test(key)) yield `annotation ${key}`;
}

function* ofLabels(labels: Readonly<Record<string, unknown>>): Generator<string> {
  for (const [key, value] of Object.entries(labels)) {
    if (!LABEL_NAME.test(key)) yield `label ${key}`;
    if (typeof value !== 'string' || !LABEL_VALUE.test(value)) yield `label ${key}=${String(value)}`;
  }
}

function* ofData(manifest: Manifest): Generator<string> {
  if (!['ConfigMap', 'Secret'].includes(manifest.kind)) return;
  for (const part of ['data', 'stringData']) {
    for (const [key, value] of Object.entries((manifest[part] ?? {}) as Record<string, unknown>)) {
      if (!DATA_KEY.test(key)) yield `key ${key}`;
      if (typeof value !== 'string') yield `${key} is no text`;
    }
  }
}

/** What a Deployment selects must be what it makes. */
function* ofSelector(manifest: Manifest): Generator<string> {
  if (!['Deployment', 'StatefulSet'].includes(manifest.kind)) return;
  const [made] = podsOf([manifest]);
  const { selector } = manifest['spec'] as { selector: { matchLabels: Record<string, string> } };
  for (const [key, value] of Object.entries(selector.matchLabels)) {
    if (made?.pod.metadata?.labels?.[key] !== value) yield `selects ${key}=${value}, which its pods have not`;
  }
}

function* ofNetwork(manifest: Manifest): Generator<string> {
  if (manifest.kind !== 'NetworkPolicy') return;
  const { spec } = manifest as unknown as INetworkPolicy;
  for (const { cidr, except = [] } of [...(spec?.egress ?? []), ...(spec?.ingress ?? [])]
    .flatMap((rule) => ('to' in rule ? rule.to : 'from' in rule ? rule.from : undefined) ?? [])
    .flatMap(({ ipBlock }) => ipBlock ?? [])) {
    if (!ipaddr.isValidCIDR(cidr)) {
      yield `cidr ${cidr}`;
      continue;
    }
    const [network, bits] = ipaddr.parseCIDR(cidr);
    for (const each of except) {
      const inner = ipaddr.isValidCIDR(each) ? ipaddr.parseCIDR(each) : null;
      const isWithin = inner && inner[0].kind() === network.kind() && inner[0].match(network, bits) && inner[1] > bits;
      if (!isWithin) yield `except ${each} is not within ${cidr}`;
    }
  }
}

function* ofPod({ pod }: PodOf): Generator<string> {
  yield* ofLabels(pod.metadata?.labels ?? {});
  const { containers = [], volumes = [] } = pod.spec ?? {};
  yield* twice(containers.map(({ name }) => name));
  yield* twice(volumes.map(({ name }) => name));
  for (const { name, ...source } of volumes) {
    if (!DNS_LABEL.test(name)) yield `volume ${name}`;
    if (Object.keys(source).length !== 1) yield `volume ${name} is of ${Object.keys(source).length} kinds`;
  }
  const known = new Set(volumes.map(({ name }) => name));
  for (const container of containers) yield* ofContainer(container, known, podsVolumeTemplates(pod));
  const grace = pod.spec?.terminationGracePeriodSeconds;
  for (const { lifecycle } of containers) {
    const seconds = lifecycle?.preStop?.sleep?.seconds;
    if (seconds !== undefined && grace !== undefined && seconds > grace) yield 'sleeps for longer than its grace';
  }
}

/** A StatefulSet's pods have those of its claims as well; they are not in the template. */
const podsVolumeTemplates = (pod: PodOf['pod']): ReadonlySet<string> =>
  new Set(pod.metadata?.labels?.['app.kubernetes.io/component'] === 'valkey' ? ['data'] : []);

function* ofContainer(
  { name, env = [], ports = [], volumeMounts = [], resources, startupProbe, readinessProbe, livenessProbe }: IContainer,
  volumes: ReadonlySet<string>,
  claims: ReadonlySet<string>,
): Generator<string> {
  if (!DNS_LABEL.test(name)) yield `container ${name}`;
  yield* twice(env.map((each) => each.name));
  for (const each of env) {
    if (!VARIABLE.test(each.name)) yield `variable ${each.name}`;
    if (each.value !== undefined && each.valueFrom) yield `variable ${each.name} has a value and a place`;
  }
  yield* twice(volumeMounts.map(({ mountPath }) => mountPath));
  for (const mount of volumeMounts) {
    if (!volumes.has(mount.name) && !claims.has(mount.name)) yield `${mount.mountPath} is on no volume`;
  }
  const named = ports.map((port) => port.name);
  yield* twice(named.filter((each) => each !== undefined));
  for (const port of ports) if (port.name !== undefined && !PORT_NAME.test(port.name)) yield `port ${port.name}`;
  for (const probe of [startupProbe, readinessProbe, livenessProbe]) {
    const port = probe?.httpGet?.port ?? probe?.tcpSocket?.port;
    if (typeof port === 'string' && !named.includes(port)) yield `a probe asks port ${port}, which there is not`;
  }
  for (const [resource, limit] of Object.entries(resources?.limits ?? {})) {
    const request = resources?.requests?.[resource];
    if (request !== undefined && toNumber(request) > toNumber(limit)) yield `requests more ${resource} than its limit`;
  }
  for (const each of [...Object.values(resources?.limits ?? {}), ...Object.values(resources?.requests ?? {})]) {
    if (Number.isNaN(toNumber(each))) yield `quantity ${each}`;
  }
}

/** Ports by name lead to those of some container behind the Service. */
function* ofServices(manifests: readonly Manifest[]): Generator<string> {
  for (const manifest of manifests.filter(({ kind }) => kind === 'Service')) {
    const { spec } = manifest as unknown as IService;
    const behind = podsOf(manifests).filter(({ pod }) =>
      Object.entries(spec?.selector ?? {}).every(([key, value]) => pod.metadata?.labels?.[key] === value),
    );
    const open = new Set(
      behind.flatMap(({ pod }) =>
        (pod.spec?.containers ?? []).flatMap(({ ports = [] }) => ports.map(({ name }) => name)),
      ),
    );
    for (const { name = '', targetPort } of spec?.ports ?? []) {
      if (!DNS_LABEL.test(name)) yield `Service ${manifest.metadata.name}: port ${name}`;
      if (typeof targetPort === 'string' && !open.has(targetPort)) {
        yield `Service ${manifest.metadata.name}: nothing listens on ${targetPort}`;
      }
    }
  }
}

function* twice(names: readonly string[]): Generator<string> {
  for (const name of new Set(names)) if (names.filter((each) => each === name).length > 1) yield `${name} twice`;
}

function toNumber(quantity: string | number): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)([a-zA-Z]*)$/.exec(String(quantity)) ?? [];
  return number === '' ? Number.NaN : Number(number) * (UNITS[unit] ?? Number.NaN);
}
