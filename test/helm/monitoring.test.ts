/** Alerts, dashboard and KEDA ask for series that there are, in PromQL that parses, and for lists that BullMQ fills. */
import { readFile } from 'node:fs/promises';
import { parser } from '@prometheus-io/lezer-promql';
import { beforeAll, describe, expect, it } from 'vitest';
import { MAILBOX_QUEUES } from '../../src/fetch/mailbox-queues.ts';
import { FETCH_QUEUE } from '../../src/fetch/queue.ts';
import { queueKeys } from '../../src/redis/keys.ts';
import { render, type Manifest } from '../support/helm.ts';
import { METRICS, TARGET_LABELS } from './metrics.ts';
import { find } from './pods.ts';
import { VALUE_SETS } from './value-sets.ts';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}
interface Panel {
  readonly id: number;
  readonly title: string;
  readonly description: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly targets: readonly { readonly expr: string }[];
}
interface Trigger {
  readonly type: string;
  readonly name: string;
  readonly metricType: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly authenticationRef?: { readonly name: string };
}

let watched: Manifest[];
let rules: Rule[];
let panels: readonly Panel[];

beforeAll(async () => {
  watched = await render(VALUE_SETS['scaled by Prometheus and watched'] ?? {});
  const { groups } = find(watched, 'PrometheusRule')['spec'] as { groups: { rules: Rule[] }[] };
  rules = groups.flatMap((group) => group.rules);
  const [text] = Object.values(
    find(watched, 'ConfigMap', 'mail-popbridge-dashboard')['data'] as Record<string, string>,
  );
  ({ panels } = JSON.parse(text ?? '') as { panels: Panel[] });
});

/** What is wrong with a query: its grammar, series that nobody serves, labels and values that they do not have. */
function faults(query: string): string[] {
  // Grafana fills these in.
  const text = query.replaceAll('$__rate_interval', '5m');
  const found: string[] = [];
  const labelsOfAll = new Set<string>(TARGET_LABELS);
  const used: string[] = [];
  parser.parse(text).iterate({
    enter(node) {
      const said = text.slice(node.from, node.to);
      if (node.type.isError) found.push(`does not parse at ${node.from}`);
      if (node.name === 'VectorSelector') {
        const name = /^[a-z_:][a-z0-9_:]*/.exec(said)?.[0] ?? '';
        const labels = METRICS[name];
        if (!labels) found.push(`nobody serves ${name}`);
        for (const label of Object.keys(labels ?? {})) labelsOfAll.add(label);
        for (const [, label = '', value = ''] of said.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"/g)) {
          if (!labels || TARGET_LABELS.includes(label)) continue;
          const values = labels[label];
          if (values === undefined) found.push(`${name} has no label ${label}`);
          const missing = values ? value.split('|').filter((each) => !values.includes(each)) : [];
          for (const each of missing) found.push(`no ${label} of ${name} is ${each}`);
        }
      }
      if (node.name === 'GroupingLabels')
        used.push(
          ...said
            .slice(1, -1)
            .split(',')
            .map((label) => label.trim()),
        );
    },
  });
  return [...found, ...used.filter((label) => !labelsOfAll.has(label)).map((label) => `no series has ${label}`)];
}

it('the check of queries finds what is wrong with them', () => {
  expect(faults('sum(rate(popbridge_fetches_total{outcome="failed"}[5m])) by (code)')).toEqual([]);
  expect(faults('sum(rate(popbridge_fetches_total[5m])')).not.toEqual([]);
  expect(faults('popbridge_fetchs_total')).toEqual(['nobody serves popbridge_fetchs_total']);
  expect(faults('popbridge_fetches_total{state="x"}')).toEqual(['popbridge_fetches_total has no label state']);
  expect(faults('popbridge_fetches_total{outcome="lots"}')).toEqual(['no outcome of popbridge_fetches_total is lots']);
  expect(faults('sum by (queue) (popbridge_fetches_total)')).toEqual(['no series has queue']);
});

it('every alert asks for what there is, within the release', () => {
  expect(rules.length).toBeGreaterThanOrEqual(10);
  for (const { alert, expr } of rules) {
    expect([alert, faults(expr)]).toEqual([alert, []]);
    expect(expr).toContain('namespace="post",service="mail-popbridge-metrics"');
    expect(expr).not.toMatch(/[<>]\w+[<>]/);
  }
});

it('every alert says how grave it is, what has happened, and what to do', () => {
  for (const rule of rules) {
    expect(['critical', 'warning', 'info']).toContain(rule.labels.severity);
    expect(rule.for).toMatch(/^\d+[mh]$/);
    expect(rule.annotations.summary.length).toBeGreaterThan(20);
    expect(rule.annotations.description.length).toBeGreaterThan(40);
  }
});

it('thresholds are those of the values, and an alert that is disabled is left out', () => {
  expect(rules.find(({ alert }) => alert === 'PopbridgeSchedulesLate')?.expr).toMatch(/> 60$/);
  expect(rules.find(({ alert }) => alert === 'PopbridgeRedisFull')?.expr).toMatch(/> 0\.85$/);
  expect(rules.map(({ alert }) => alert)).not.toContain('PopbridgeWebhooksFailing');
});

it('the README of the chart explains every alert, and no other', async () => {
  const readme = await readFile(new URL('../../helm/README.md', import.meta.url), 'utf8');
  const explained = [...readme.matchAll(/^\| `(Popbridge\w+)` \| (\w+) \|/gm)].map(
    ([, alert, severity]) => `${alert} ${severity}`,
  );
  const all = await render({ ...VALUE_SETS['minimal'], metrics: { rules: { enabled: true } } });
  const { groups } = find(all, 'PrometheusRule')['spec'] as { groups: { rules: Rule[] }[] };
  expect(explained).toEqual(
    groups.flatMap((group) => group.rules.map(({ alert, labels }) => `${alert} ${labels.severity}`)),
  );
  const runbook = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const named = new Set([...runbook.matchAll(/`(Popbridge\w+)`/g)].map(([, alert]) => alert));
  expect(named).toEqual(new Set(groups.flatMap((group) => group.rules.map(({ alert }) => alert))));
});

it('every panel asks for what there is, says what it shows, and overlaps no other', () => {
  expect(panels.length).toBeGreaterThan(15);
  const taken = new Set<string>();
  for (const { title, description, targets, gridPos } of panels) {
    expect(targets.length).toBeGreaterThan(0);
    for (const { expr } of targets) {
      expect([title, faults(expr)]).toEqual([title, []]);
      expect(expr).toContain('namespace="$namespace",service="$service"');
    }
    expect(description).not.toBe('');
    expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        expect(taken.has(`${x},${y}`)).toBe(false);
        taken.add(`${x},${y}`);
      }
    }
  }
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
});

it('every series is on the dashboard or in an alert', () => {
  const queries = [
    ...rules.map(({ expr }) => expr),
    ...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
  ].join('\n');
  const families = new Set(Object.keys(METRICS).map((name) => name.replace(/_(bucket|count|sum)$/, '')));
  expect([...families].filter((name) => !queries.includes(name))).toEqual([]);
});

it('a ServiceMonitor reads /metrics of every pod that runs popbridge, at the port where it is served', () => {
  const monitor = find(watched, 'ServiceMonitor')['spec'] as { selector: { matchLabels: object }; endpoints: object[] };
  const service = find(watched, 'Service', 'mail-popbridge-metrics');
  expect(service.metadata.labels).toMatchObject(monitor.selector.matchLabels);
  expect(monitor.endpoints).toEqual([{ port: 'metrics', path: '/metrics', interval: '30s' }]);
  expect(service['spec']).toMatchObject({
    selector: { runs: 'popbridge', 'app.kubernetes.io/instance': 'mail' },
    ports: [{ name: 'metrics', port: 9110, targetPort: 'metrics' }],
  });
  const { data } = find(watched, 'ConfigMap', 'mail-popbridge') as unknown as { data: Record<string, string> };
  expect(data['POPBRIDGE_METRICS_PORT']).toBe('9110');
});

/** What KEDA reads, by kind of trigger: from the trigger itself, and from its TriggerAuthentication. As its sources have it. */
const REDIS_PARAMETERS = ['username', 'listName', 'listLength', 'activationListLength', 'enableTLS', 'unsafeSsl'];
const REDIS_SECRETS = ['username', 'password', 'ca', 'cert', 'key', 'keyPassword'];
const PARAMETERS: Readonly<Record<string, { metadata: readonly string[]; secrets: readonly string[] }>> = {
  prometheus: {
    metadata: ['serverAddress', 'query', 'threshold', 'activationThreshold', 'ignoreNullValues', 'timeout'],
    secrets: [],
  },
  redis: { metadata: [...REDIS_PARAMETERS, 'address', 'databaseIndex'], secrets: REDIS_SECRETS },
  'redis-cluster': { metadata: [...REDIS_PARAMETERS, 'addresses'], secrets: REDIS_SECRETS },
  'redis-sentinel': {
    metadata: [...REDIS_PARAMETERS, 'addresses', 'databaseIndex', 'sentinelMaster', 'sentinelUsername'],
    secrets: [...REDIS_SECRETS, 'sentinelUsername', 'sentinelPassword'],
  },
};

describe('KEDA', () => {
  const QUEUES = [FETCH_QUEUE, ...MAILBOX_QUEUES];
  const triggersOf = (manifests: Manifest[]): Trigger[] =>
    (find(manifests, 'ScaledObject')['spec'] as { triggers: Trigger[] }).triggers;

  it('goes by what is overdue, by lag, and by the waiting jobs of each queue that popbridge has', () => {
    const triggers = triggersOf(watched);
    expect(triggers.map(({ name }) => name)).toEqual([
      'oldest-due',
      'schedule-lag',
      ...QUEUES.map((queue) => `waiting-${queue}`),
    ]);
    for (const { name, metadata, type } of triggers) {
      expect(type).toBe('prometheus');
      expect([name, faults(metadata['query'] ?? '')]).toEqual([name, []]);
      expect(Number(metadata['threshold'])).toBeGreaterThan(0);
    }
    for (const queue of QUEUES) {
      expect(triggers.find(({ name }) => name === `waiting-${queue}`)?.metadata['query']).toContain(`queue="${queue}"`);
    }
  });

  it('takes no silence for nothing to do: a query that is not answered leaves the workers that there are', () => {
    for (const { name, metadata } of triggersOf(watched)) {
      expect(metadata['ignoreNullValues']).toBe('false');
      // That no mailbox was due in two minutes is an answer; that nobody says so is none.
      if (name !== 'schedule-lag') expect(metadata['query']).not.toContain('vector');
    }
  });

  it.each(Object.keys(VALUE_SETS).filter((set) => set.startsWith('scaled by') && !set.includes('CPU')))(
    'has heard of every parameter of the triggers that are %s, and of none twice',
    async (set) => {
      const manifests = await render(VALUE_SETS[set] ?? {});
      const { spec } = find(manifests, 'ScaledObject') as unknown as {
        spec: { triggers: Trigger[]; fallback?: object };
      };
      const isAverage = spec.triggers.every(({ metricType }) => metricType === 'AverageValue');
      // Before version 2.18 KEDA refuses the one beside the other.
      expect(spec.fallback === undefined || isAverage).toBe(true);
      const secrets = manifests
        .filter(({ kind }) => kind === 'TriggerAuthentication')
        .flatMap((each) => (each['spec'] as { secretTargetRef: { parameter: string }[] }).secretTargetRef)
        .map(({ parameter }) => parameter);
      for (const { type, metadata } of spec.triggers) {
        const known = PARAMETERS[type];
        expect(Object.keys(metadata).filter((name) => !known?.metadata.includes(name))).toEqual([]);
        expect(secrets.filter((name) => !known?.secrets.includes(name) || name in metadata)).toEqual([]);
      }
    },
  );

  it.each([
    ['the Valkey', 'redis', { address: 'mail-popbridge-valkey.post.svc:6379' }],
    [
      'a Cluster',
      'redis-cluster',
      { addresses: 'a.redis:6379,b.redis:6379', enableTLS: 'true', username: 'popbridge' },
    ],
  ] as const)('reads the lists that BullMQ fills, in the Redis of %s', async (name, type, metadata) => {
    const manifests = await render(VALUE_SETS[`scaled by the lists of ${name}`] ?? {});
    const triggers = triggersOf(manifests);
    expect(triggers.map((trigger) => trigger.metadata['listName'])).toEqual(
      QUEUES.map((queue) => queueKeys(queue).wait),
    );
    const authentication = find(manifests, 'TriggerAuthentication');
    for (const trigger of triggers) {
      expect(trigger).toMatchObject({ type, metadata, authenticationRef: { name: authentication.metadata.name } });
    }
    const { secretTargetRef } = authentication['spec'] as { secretTargetRef: { parameter: string }[] };
    expect(secretTargetRef.map(({ parameter }) => parameter)).toContain('password');
  });

  it('asks Sentinels for the master, with their own password', async () => {
    const manifests = await render(VALUE_SETS['scaled by the lists behind Sentinels'] ?? {});
    expect(triggersOf(manifests)[0]).toMatchObject({
      type: 'redis-sentinel',
      metadata: { addresses: 'a.redis:26379,b.redis:26379', sentinelMaster: 'mymaster', sentinelUsername: 'watcher' },
    });
    expect(find(manifests, 'TriggerAuthentication')['spec']).toEqual({
      secretTargetRef: [
        { parameter: 'password', name: 'redis', key: 'redis-password' },
        { parameter: 'sentinelPassword', name: 'redis', key: 'sentinel-password' },
      ],
    });
  });
});
