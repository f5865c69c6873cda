/** What the network policies let through, by a reading of them as Kubernetes has it, held against popbridge's own egress policy. */
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { beforeAll, describe, expect, it } from 'vitest';
import { isMetadataService, isPublic, readAddress } from '../../src/egress/address.ts';
import { render, type Manifest } from '../support/helm.ts';
import { podOf, podsOf } from './pods.ts';
import { MINIMAL, VALUE_SETS } from './value-sets.ts';

const rendered = new Map<string, Manifest[]>();

beforeAll(async () => {
  for (const [name, values] of Object.entries(VALUE_SETS)) rendered.set(name, await render(values));
});

const objectsOf = (set: string): Manifest[] => rendered.get(set) ?? [];

/** The policies that select the component's pods. */
function policiesOf(manifests: readonly Manifest[], component: string): INetworkPolicy[] {
  const labels = podOf(manifests, component).metadata?.labels ?? {};
  return manifests
    .filter(({ kind }) => kind === 'NetworkPolicy')
    .map((each) => each as unknown as INetworkPolicy)
    .filter(({ spec }) =>
      Object.entries(spec?.podSelector?.matchLabels ?? {}).every(([name, value]) => labels[name] === value),
    );
}

const ranges = new Map<string, ReturnType<typeof ipaddr.parseCIDR>>();
function parseRange(cidr: string): ReturnType<typeof ipaddr.parseCIDR> {
  const range = ranges.get(cidr) ?? ipaddr.parseCIDR(cidr);
  ranges.set(cidr, range);
  return range;
}

/** Whether some policy lets the component's pods connect to the address, which is of no pod. */
function reaches(manifests: readonly Manifest[], component: string, address: string, port: number): boolean {
  return letsOut(policiesOf(manifests, component), address, port);
}

function letsOut(policies: readonly INetworkPolicy[], address: string, port: number): boolean {
  const ip = ipaddr.parse(address);
  const within = (cidr: string): boolean => {
    const [network, bits] = parseRange(cidr);
    return network.kind() === ip.kind() && ip.match(network, bits);
  };
  return policies.some(({ spec }) =>
    spec?.egress?.some(({ to, ports }) => {
      if (ports && !ports.some((each) => each.port === port)) return false;
      if (!to) return true;
      return to.some(({ ipBlock }) => ipBlock && within(ipBlock.cidr) && !ipBlock.except?.some(within));
    }),
  );
}

describe.each(Object.keys(VALUE_SETS).filter((set) => !set.startsWith('OpenShift')))(
  'with the values for %s',
  (set) => {
    it('every pod is denied all that it is not allowed, in and out', () => {
      for (const { pod } of podsOf(objectsOf(set))) {
        const policies = policiesOf(objectsOf(set), pod.metadata?.labels?.['app.kubernetes.io/component'] ?? '');
        const deny = policies.find(({ spec }) => !spec?.ingress && !spec?.egress);
        expect(deny?.spec?.policyTypes).toEqual(['Ingress', 'Egress']);
      }
    });

    it('popbridge is never let out to private addresses that nobody has named', () => {
      const components = set.includes('one Deployment') ? ['all'] : ['api', 'worker'];
      for (const component of components) {
        for (const address of [
          '10.99.0.1',
          '172.17.0.1',
          '192.168.1.1',
          '169.254.169.254',
          '127.0.0.1',
          '100.100.100.200',
          'fd00:ec2::254',
          'fe80::1',
          '64:ff9b::a9fe:a9fe',
        ]) {
          for (const port of [80, 110, 443, 995, 6379, 8080])
            expect([address, port, reaches(objectsOf(set), component, address, port)]).toEqual([address, port, false]);
        }
      }
    });
  },
);

it('popbridge reaches mail servers and webhooks on public addresses, and no other port of them', () => {
  for (const component of ['api', 'worker']) {
    for (const address of ['8.8.8.8', '2a00:1450:4001::1', '64:ff9b::808:808']) {
      for (const port of [110, 995, 443]) expect(reaches(objectsOf('minimal'), component, address, port)).toBe(true);
      for (const port of [22, 25, 80, 6379])
        expect(reaches(objectsOf('minimal'), component, address, port)).toBe(false);
    }
  }
});

/** Tunnels: popbridge looks at the address inside of one; the policy has none of them. */
const isTunnel = (address: ipaddr.IPv4 | ipaddr.IPv6): boolean => ['6to4', 'teredo'].includes(address.range());

it('what is public to a policy is public to popbridge, and the other way round', () => {
  const near = [
    '10.0.0.0',
    '100.64.0.0',
    '168.63.129.16',
    '169.254.0.0',
    '172.16.0.0',
    '192.0.0.0',
    '192.0.2.0',
    '192.31.196.0',
    '192.52.193.0',
    '192.88.99.0',
    '192.168.0.0',
    '192.175.48.0',
    '198.18.0.0',
    '198.51.100.0',
    '203.0.113.0',
    '224.0.0.0',
    '240.0.0.0',
  ];
  const ipv4 = fc.oneof(
    fc.integer({ min: 0, max: 0xffffffff }),
    // The edges of every range.
    fc.tuple(fc.constantFrom(...near), fc.constantFrom(-1, 0, 1, 255, 256, 65_535, 65_536)).map(([text, offset]) => {
      const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number);
      return (a * 2 ** 24 + b * 65_536 + c * 256 + d + offset) % 2 ** 32;
    }),
  );
  const dotted = ipv4.map((bits) => [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.'));
  const halves = fc.array(
    fc.integer({ min: 0, max: 0xffff }).map((half) => half.toString(16)),
    { minLength: 7, maxLength: 7 },
  );
  const ipv6 = fc
    .tuple(
      fc.constantFrom('2000', '2001', '2002', '2620', '2a00', '3fff', 'fc00', 'fe80', '64', 'ff02', '5f00'),
      halves,
    )
    .map(([first, rest]) => [first, ...rest].join(':'));
  const edges6 = fc.constantFrom(
    '2001:db8::1',
    '2001::1',
    '2001:1ff:ffff::1',
    '2001:200::1',
    '2620:4f:8000::1',
    '2620:4f:8001::1',
    '3fff:fff::1',
    '3fff:1000::1',
    '3ffe::1',
    '4000::1',
    '64:ff9b:1::1',
  );
  const policies = policiesOf(objectsOf('minimal'), 'worker');
  const nat64 = dotted.map((text) => `64:ff9b::${text}`);
  fc.assert(
    fc.property(fc.oneof(dotted, ipv6, edges6, nat64), (text) => {
      const address = readAddress(text);
      if (!address || isTunnel(address)) return;
      const isOpen = isPublic(address) && !isMetadataService(address);
      expect([text, letsOut(policies, address.toString(), 995)]).toEqual([text, isOpen]);
    }),
    { numRuns: 10_000 },
  );
});

it('tunnels are not reached at all', () => {
  for (const text of ['2002:808:808::1', '2002:c0a8:101::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2']) {
    expect(reaches(objectsOf('minimal'), 'worker', text, 995)).toBe(false);
  }
});

it('Redis, the S3 server, the collector and the proxy are reached where they are said to be, on their ports alone', () => {
  expect([6379, 6380].map((port) => reaches(objectsOf('minimal'), 'worker', '10.0.0.5', port))).toEqual([true, false]);
  const url = objectsOf('a URL as a value, of a single Redis with TLS');
  expect(reaches(url, 'api', '10.0.0.5', 6380)).toBe(true);
  const cluster = objectsOf('Cluster with everything given as values');
  expect([7000, 7001, 6379].map((port) => reaches(cluster, 'api', '10.0.0.5', port))).toEqual([true, true, false]);
  const sentinel = policiesOf(objectsOf('Sentinel with TLS, ACL users and a private S3'), 'worker').flatMap(
    ({ spec }) => spec?.egress ?? [],
  );
  const toRedis = sentinel.find(({ to }) =>
    to?.some(({ podSelector }) => podSelector?.matchLabels?.['app'] === 'redis'),
  );
  expect(toRedis?.ports?.map(({ port }) => port)).toEqual([6379, 26_379, 26_380]);
  expect(sentinel).toContainEqual(
    expect.objectContaining({ to: [{ namespaceSelector: { matchLabels: { name: 'storage' } } }] }),
  );
  expect(reaches(objectsOf('secrets from outside'), 'worker', '10.0.0.5', 8080)).toBe(true);
});

it('a private mail server is reached only where the values allow it', () => {
  const [before, after] = [objectsOf('minimal'), objectsOf('every setting and every place')];
  expect([before, after].map((each) => reaches(each, 'worker', '10.20.1.1', 110))).toEqual([false, true]);
  expect(reaches(after, 'worker', '10.20.1.1', 995)).toBe(false);
});

it('the chart’s Valkey takes connections from popbridge alone, and makes none', () => {
  const own = policiesOf(objectsOf('trying out'), 'valkey').find(({ spec }) => spec?.ingress);
  expect(own?.spec?.egress).toBeUndefined();
  expect(own?.spec?.ingress?.flatMap(({ from }) => from ?? [])).toEqual([
    { podSelector: { matchLabels: expect.objectContaining({ runs: 'popbridge' }) as object } },
  ]);
});

it('KEDA reaches the chart’s Valkey where it reads the lists there, and only then', () => {
  const keda = { namespaceSelector: {}, podSelector: { matchLabels: { app: 'keda-operator' } } };
  const from = (set: string): unknown[] =>
    policiesOf(objectsOf(set), 'valkey').flatMap(({ spec }) => spec?.ingress?.flatMap((rule) => rule.from ?? []) ?? []);
  expect(from('scaled by the lists of the Valkey')).toContainEqual(keda);
  expect(from('trying out')).not.toContainEqual(keda);
});

it('workers take no connection but for metrics; the API takes those that the values name, and the test’s', async () => {
  const ports = (component: string, manifests = objectsOf('minimal')): unknown[] =>
    policiesOf(manifests, component).flatMap(
      ({ spec }) => spec?.ingress?.flatMap((rule) => rule.ports?.map(({ port }) => port)) ?? [],
    );
  expect(ports('worker')).toEqual(['metrics']);
  expect(ports('api')).toEqual(['http', 'metrics']);
  expect(ports('worker', await render({ ...MINIMAL, metrics: { enabled: false } }))).toEqual([]);
  const api = policiesOf(objectsOf('every setting and every place'), 'api').find(({ spec }) => spec?.ingress);
  const from = api?.spec?.ingress?.[0]?.from;
  expect(from).toHaveLength(2);
  expect(podOf(objectsOf('every setting and every place'), 'test').metadata?.labels).toMatchObject(
    from?.[1]?.podSelector?.matchLabels ?? { none: '' },
  );
});
