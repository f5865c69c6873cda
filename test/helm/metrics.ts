import { METRICS as LISTED, type MetricSpec } from '../../src/telemetry/metric-list.ts';

/** The values of a label, where its list is closed; null where any may be. */
type Labels = Readonly<Record<string, readonly string[] | null>>;

/** The series that alerts, dashboard and KEDA may ask for: name to labels beside those of Prometheus. */
export const METRICS: Readonly<Record<string, Labels>> = Object.assign(
  { nodejs_eventloop_lag_p99_seconds: {} },
  ...LISTED.map(seriesOf),
) as Record<string, Labels>;

function seriesOf({ name, type, labels: listed }: MetricSpec): Record<string, Labels> {
  const labels = Object.fromEntries(
    Object.entries(listed).map(([label, values]) => [label, typeof values === 'string' ? null : values]),
  );
  if (type !== 'histogram') return { [name]: labels };
  return { [`${name}_bucket`]: { ...labels, le: null }, [`${name}_count`]: labels, [`${name}_sum`]: labels };
}

/** What Prometheus puts to every series that a ServiceMonitor has it read. */
export const TARGET_LABELS: readonly string[] = [
  'namespace',
  'service',
  'pod',
  'container',
  'endpoint',
  'instance',
  'job',
];
