/** What the chart makes of the value sets, by both versions of helm, against the types of Kubernetes. */
import { beforeAll, describe, expect, it } from 'vitest';
import { CHART, helm, HELM_VERSIONS, NAMESPACE, render, type Manifest } from '../support/helm.ts';
import { findRefusals } from './admission.ts';
import { findTypeFaults, findValueFaults, type Checked } from './kubernetes-types.ts';
import { VALUE_SETS } from './value-sets.ts';

const SETS = Object.entries(VALUE_SETS);

const rendered = new Map<string, Manifest[]>();
const all: Checked[] = [];

beforeAll(async () => {
  for (const [name, values] of SETS) rendered.set(name, await render(values));
  for (const [set, manifests] of rendered) {
    all.push(
      ...manifests.map((manifest) => ({ label: `${set}: ${manifest.kind} ${manifest.metadata.name}`, manifest })),
    );
  }
});

const objectsOf = (set: string): Manifest[] => rendered.get(set) ?? [];

describe.each(HELM_VERSIONS)('helm %i', (version) => {
  it.each(SETS)('finds nothing wrong with the chart and the values for %s', async (_, values) => {
    const said = await helm(version, ['lint', '--strict', CHART, '--namespace', NAMESPACE], values);
    expect(said).toContain('0 chart(s) failed');
    expect(said).not.toContain('[WARNING]');
  });
});

it.each(SETS)('helm 3 makes the same objects as helm 4 of the values for %s', async (name, values) => {
  expect(await render(values, 3)).toEqual(objectsOf(name));
});

it('every object is of a kind that Kubernetes or an operator has, with no field unknown, missing or of a wrong type', async () => {
  expect(all.length).toBeGreaterThan(200);
  expect(await findTypeFaults(all)).toEqual([]);
});

it('every field of every object is within the bounds that the API gives it', async () => {
  expect(await findValueFaults(all)).toEqual([]);
});

it.each(SETS)('an API server has nothing against the objects that are made of the values for %s', (set) => {
  expect(findRefusals(objectsOf(set))).toEqual([]);
});

const TEMPLATE = '/spec/template/spec';
const CONTAINER = `${TEMPLATE}/containers/0`;
it.each([
  ['a label with a blank', 'Service', '/metadata/labels/x', 'a b'],
  ['a name in capitals', 'ConfigMap', '/metadata/name', 'A'],
  ['a key with a blank', 'ConfigMap', '/data/a b', 'x'],
  ['a number for text', 'ConfigMap', '/data/a', 1],
  ['a selector of other pods', 'Deployment', '/spec/selector/matchLabels/x', 'y'],
  ['a mount on no volume', 'Deployment', `${CONTAINER}/volumeMounts/-`, { name: 'no', mountPath: '/x' }],
  ['a path twice', 'Deployment', `${CONTAINER}/volumeMounts/-`, { name: 'tmp', mountPath: '/data' }],
  ['a variable twice', 'Deployment', `${CONTAINER}/env/-`, { name: 'POPBRIDGE_ROLE', value: 'x' }],
  ['a probe of no port', 'Deployment', `${CONTAINER}/livenessProbe/httpGet/port`, 'web'],
  ['requests above limits', 'Deployment', `${CONTAINER}/resources/requests/memory`, '99Gi'],
  ['a quantity that is none', 'Deployment', `${CONTAINER}/resources/limits/memory`, 'much'],
  ['a sleep beyond the grace', 'Deployment', `${TEMPLATE}/terminationGracePeriodSeconds`, 1],
  ['a target that nothing listens on', 'Service', '/spec/ports/0/targetPort', 'web'],
  [
    'a range outside of its network',
    'NetworkPolicy',
    '/spec/egress',
    [{ to: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] } }] }],
  ],
])('what an API server refuses is found: %s', (_, kind, place, value) => {
  const set = objectsOf('trying out');
  const at = set.findIndex((each) => each.kind === kind);
  expect(findRefusals(set.with(at, put(set[at] as Manifest, place, value)))).not.toEqual([]);
});

it('an unknown field is found wherever it is planted, but in maps whose keys are free', async () => {
  const largest = new Map<string, Checked>();
  for (const each of all) {
    const known = largest.get(each.manifest.kind);
    if (size(each.manifest) > (known ? size(known.manifest) : 0)) largest.set(each.manifest.kind, each);
  }
  const planted = [...largest.values()].flatMap(({ manifest }) =>
    placesIn(manifest).map((place) => ({ label: `${manifest.kind}${place}`, manifest: plant(manifest, place) })),
  );
  const found = new Set((await findTypeFaults(planted)).map(({ label }) => label));
  const missed = planted.map(({ label }) => label).filter((label) => !found.has(label));
  expect(missed.filter((label) => !FREE_MAPS.test(label))).toEqual([]);
  expect(found.size).toBeGreaterThan(300);
});

it('a field of a wrong type, one that is missing, and a value that the API does not take are found', async () => {
  const deployment = pick('Deployment');
  const spec = deployment['spec'] as Record<string, unknown>;
  const { selector: _, ...rest } = spec;
  const wrong = [
    { label: 'type', manifest: { ...deployment, spec: { ...spec, replicas: '2' } } },
    { label: 'missing', manifest: { ...deployment, spec: rest } },
    { label: 'version', manifest: { ...deployment, apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 7 } } },
  ] as unknown as Checked[];
  const found = await findTypeFaults(wrong);
  expect(new Set(found.map(({ label }) => label))).toEqual(new Set(['type', 'missing', 'version']));
  const route = pick('HTTPRoute');
  const value = { ...route, spec: { ...(route['spec'] as object), hostnames: ['not a host'] } };
  expect(await findValueFaults([{ label: 'value', manifest: value }])).toHaveLength(1);
});

it('names stay within what Kubernetes allows, however long that of the release is', async () => {
  const values = { ...VALUE_SETS['trying out'], fullnameOverride: 'a'.repeat(63) };
  for (const { metadata } of await render(values)) expect(metadata.name.length).toBeLessThanOrEqual(63);
});

it('no two objects of a set have the same kind and name, and all are in the namespace of the release', () => {
  for (const [set] of SETS) {
    const names = objectsOf(set).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names).toEqual([...new Set(names)]);
    const own = objectsOf(set).filter(({ metadata }) => metadata.labels?.['app.kubernetes.io/managed-by']);
    expect(new Set(own.map(({ metadata }) => metadata.namespace))).toEqual(new Set([NAMESPACE]));
  }
});

it('makes what each of its values turns on, in some set', () => {
  const kinds = new Set(all.map(({ manifest }) => manifest.kind));
  const wanted = `ConfigMap Deployment ExternalSecret HTTPRoute HorizontalPodAutoscaler Ingress NetworkPolicy PersistentVolumeClaim
    Pod PodDisruptionBudget PrometheusRule ScaledObject Secret Service ServiceAccount ServiceMonitor StatefulSet
    TriggerAuthentication`;
  expect([...kinds].toSorted()).toEqual(wanted.split(/\s+/));
});

/** Maps whose keys are for the user to choose. */
const FREE_MAPS =
  /(\/(labels|annotations|matchLabels|data|stringData|nodeSelector|requests|limits)|ScaledObject\/spec\/triggers\/\d+\/metadata)$/;

function pick(kind: string): Manifest {
  const found = all.find(({ manifest }) => manifest.kind === kind);
  if (!found) throw new Error(`no ${kind}`);
  return found.manifest;
}

function size(value: unknown): number {
  return JSON.stringify(value).length;
}

/** Paths of all maps in it, as JSON pointers. */
function placesIn(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const below = Object.entries(value).flatMap(([key, each]) => placesIn(each, `${path}/${key}`));
  return Array.isArray(value) ? below : [path, ...below];
}

const plant = (manifest: Manifest, place: string): Manifest => put(manifest, `${place}/planted`, 1);

/** @param place a JSON pointer; with `-` for what is behind the last of a list. */
function put(manifest: Manifest, place: string, value: unknown): Manifest {
  const copy = structuredClone(manifest);
  const keys = place.split('/').slice(1);
  const last = keys.pop() ?? '';
  let at: unknown = copy;
  for (const key of keys) at = (at as Record<string, unknown>)[key];
  if (Array.isArray(at) && last === '-') at.push(value);
  else (at as Record<string, unknown>)[last] = value;
  return copy;
}
