/** The chart's alerts, and what KEDA asks, evaluated by Prometheus itself: each fires when it is to, and only then. */
import { beforeAll, describe, expect, it } from 'vitest';
import { render, type Manifest } from '../support/helm.ts';
import { findRuleFaults, findTestFaults, promtoolAvailable, type Rule, type RuleTest } from '../support/promtool.ts';
import { find } from './pods.ts';
import { MINIMAL, VALUE_SETS } from './value-sets.ts';

type Alert = Rule & {
  readonly alert: string;
  readonly labels: object;
  readonly annotations: { readonly summary: string; readonly description: string };
};
type Series = Readonly<Record<string, string>>;

/** As promtool has it: a start, what each minute adds, and for how many. */
const counting = (perMinute: number): string => `0+${perMinute}x120`;
const staying = (value: number): string => `${value}x120`;
/** By which a ServiceMonitor tells whose the series are. */
const OURS = 'namespace="post",service="mail-popbridge-metrics"';
/** Of one pod of ours, unless the name says of which. */
const name = (metric: string, labels = ''): string =>
  `${metric}{${OURS}${labels.includes('pod=') ? '' : ',pod="a"'}${labels && `,${labels}`}}`;

/** Schedules whose lags are counted per minute, by upper bound in seconds. */
const lags = (counts: Readonly<Record<string, number>>): Series =>
  Object.fromEntries(
    Object.entries(counts).map(([le, perMinute]) => [
      name('popbridge_schedule_lag_seconds_bucket', `le="${le}"`),
      counting(perMinute),
    ]),
  );
const requests = (status: number, perMinute: number): Series => ({
  [name('popbridge_http_requests_total', `method="GET",route="/v1/messages",status="${status}"`)]: counting(perMinute),
});
const deliveries = (outcome: string, perMinute: number): Series => ({
  [name('popbridge_deliveries_total', `outcome="${outcome}"`)]: counting(perMinute),
});
const memory = (bytes: number, max: number): Series => ({
  [name('popbridge_redis_memory_bytes')]: staying(bytes),
  [name('popbridge_redis_memory_max_bytes')]: staying(max),
});
const one = (metric: string, labels: string, values: string): Series => ({ [name(metric, labels)]: values });

/** What it looks like where all is well: no alert fires. */
const WELL: Series = {
  ...one('popbridge_schedule_oldest_due_seconds', '', staying(2)),
  ...lags({ '60': 100, '120': 100, '300': 100, '+Inf': 100 }),
  ...one('popbridge_queue_jobs', 'queue="fetch",state="waiting"', staying(20)),
  ...one('popbridge_fetches_total', 'outcome="succeeded",code="none"', counting(50)),
  ...one('popbridge_blob_operation_seconds_count', 'operation="write",outcome="ok"', counting(50)),
  ...one('popbridge_redis_up', 'pod="a"', staying(1)),
  ...one('popbridge_redis_up', 'pod="b"', staying(1)),
  ...memory(500, 1000),
  ...requests(200, 100),
  ...deliveries('delivered', 50),
  ...one('popbridge_webhooks', 'state="ok"', staying(5)),
  ...one('popbridge_webhooks', 'state="open"', staying(0)),
  ...one('popbridge_mailboxes', 'state="ok"', staying(500)),
  ...one('popbridge_mailboxes', 'state="needs_credentials"', staying(0)),
  ...one('nodejs_eventloop_lag_p99_seconds', 'pod="a"', staying(0.02)),
};

interface Case {
  /** In the place of what is well. */
  readonly fires: Series;
  /** What is near, and does not make it fire. */
  readonly quiet: readonly Series[];
  readonly summary: string;
  /** That it fires with, beside its severity. */
  readonly labels?: object;
}

const OLDEST_DUE = name('popbridge_schedule_oldest_due_seconds');

const CASES: Readonly<Record<string, Case>> = {
  PopbridgeSilent: {
    fires: { [OLDEST_DUE]: '_x120' },
    // The process that tells has died, and for two minutes none has taken over.
    quiet: [{ [OLDEST_DUE]: '0x50 _x2 0x60' }],
    labels: { namespace: 'post', service: 'mail-popbridge-metrics' },
    summary: 'No popbridge tells how its schedules are',
  },
  PopbridgeSchedulesLate: {
    fires: { [OLDEST_DUE]: staying(400) },
    quiet: [{ [OLDEST_DUE]: staying(290) }, { [OLDEST_DUE]: '0x50 400x5 0x60' }],
    summary: 'A mailbox has been due for 6m 40s and is not fetched',
  },
  PopbridgeSchedulesLagging: {
    fires: lags({ '60': 50, '120': 50, '300': 100, '+Inf': 100 }),
    quiet: [lags({ '60': 96, '120': 96, '300': 100, '+Inf': 100 }), lags({ '60': 0, '120': 0, '300': 0, '+Inf': 0 })],
    summary: 'One in twenty scheduled fetches begins 4m 42s late',
  },
  PopbridgeQueueGrows: {
    fires: one('popbridge_queue_jobs', 'queue="mailboxes-3",state="waiting"', staying(1500)),
    quiet: [one('popbridge_queue_jobs', 'queue="mailboxes-3",state="delayed"', staying(1500))],
    labels: { queue: 'mailboxes-3' },
    summary: '1500 jobs wait in the queue mailboxes-3',
  },
  PopbridgeStorageFails: {
    fires: one('popbridge_fetches_total', 'outcome="retried",code="storage_failed"', counting(1)),
    quiet: [one('popbridge_fetches_total', 'outcome="failed",code="upstream_auth_failed"', counting(9))],
    summary: 'Fetches fail because mail cannot be stored',
  },
  PopbridgeBlobErrors: {
    fires: one('popbridge_blob_operation_seconds_count', 'operation="read",outcome="failed"', counting(1)),
    quiet: [one('popbridge_blob_operation_seconds_count', 'operation="read",outcome="failed"', staying(7))],
    labels: { operation: 'read' },
    summary: 'The blob store fails to read',
  },
  PopbridgeRedisAway: {
    fires: one('popbridge_redis_up', 'pod="b"', staying(0)),
    quiet: [one('popbridge_redis_up', 'pod="b"', '1x50 0x1 1x60')],
    summary: 'Redis does not answer a pod of popbridge',
  },
  PopbridgeRedisFull: {
    fires: memory(900, 1000),
    // Without a bound of its own nothing is full.
    quiet: [memory(800, 1000), memory(9000, 0)],
    summary: 'Redis has 90% of its memory taken up',
  },
  PopbridgeApiErrors: {
    fires: requests(503, 25),
    quiet: [requests(503, 4), requests(404, 500)],
    summary: '20% of the requests end in a server error',
  },
  PopbridgeDeliveriesFail: {
    fires: deliveries('retried', 50),
    // What nothing was left of to send is nobody's failure.
    quiet: [deliveries('retried', 10), deliveries('dropped', 500)],
    summary: '50% of the attempts at delivery fail',
  },
  PopbridgeWebhooksFailing: {
    fires: one('popbridge_webhooks', 'state="open"', staying(2)),
    // Their owners may have disabled them.
    quiet: [one('popbridge_webhooks', 'state="disabled"', staying(2))],
    summary: '2 webhooks have endpoints that fail',
  },
  PopbridgeMailboxesNeedCredentials: {
    fires: one('popbridge_mailboxes', 'state="needs_credentials"', staying(3)),
    quiet: [one('popbridge_mailboxes', 'state="paused"', staying(3))],
    summary: '3 mailboxes need other credentials',
  },
  PopbridgeEventLoopBlocked: {
    fires: one('nodejs_eventloop_lag_p99_seconds', 'pod="a"', staying(0.7)),
    quiet: [one('nodejs_eventloop_lag_p99_seconds', 'pod="a"', staying(0.4))],
    labels: { pod: 'a' },
    summary: 'The event loop of a is held up by 700ms',
  },
};

/** When all of them have had their `for`, and when none has. */
const LATE = '110m';
const EARLY = '1m';

function testOf(series: Series, expected: NonNullable<RuleTest['alert_rule_test']>): RuleTest {
  const all = Object.entries({ ...WELL, ...series }).filter(([, values]) => values !== '_x120');
  return {
    interval: '1m',
    input_series: all.map(([each, values]) => ({ series: each, values })),
    alert_rule_test: expected,
  };
}
const silentAt = (alertname: string, time: string) => ({ eval_time: time, alertname, exp_alerts: [] });

describe.skipIf(!promtoolAvailable())('Prometheus (skipped where its promtool is not unpacked)', () => {
  let alerts: readonly Alert[];
  let watched: Manifest[];

  beforeAll(async () => {
    watched = await render(VALUE_SETS['scaled by Prometheus and watched'] ?? {});
    const all = find(await render({ ...MINIMAL, metrics: { rules: { enabled: true } } }), 'PrometheusRule');
    alerts = (all['spec'] as { groups: { rules: Alert[] }[] }).groups.flatMap(({ rules }) => rules);
  });

  it('takes every alert, and fires none while all is well', async () => {
    expect(Object.keys(CASES)).toEqual(alerts.map(({ alert }) => alert));
    const times = ['5m', '20m', '50m', LATE];
    const nothing = alerts.flatMap(({ alert }) => times.map((time) => silentAt(alert, time)));
    expect(await findRuleFaults(alerts)).toBe('');
    expect(await findTestFaults(alerts, [testOf({}, nothing)])).toBe('');
  });

  it.each(Object.entries(CASES))(
    '%s fires when it is to, says what has happened, and not for what is near to it',
    async (alertname, { fires, quiet, labels, summary }) => {
      const { annotations, ...alert } = alerts.find((each) => each.alert === alertname)!;
      const fired = {
        eval_time: LATE,
        alertname,
        exp_alerts: [{ exp_labels: { ...alert.labels, ...labels }, exp_annotations: { ...annotations, summary } }],
      };
      const others = alerts.filter((each) => each.alert !== alertname).map((each) => silentAt(each.alert, LATE));
      const tests = [
        testOf(fires, [silentAt(alertname, EARLY), fired, ...others]),
        ...quiet.map((series) => testOf(series, [silentAt(alertname, '55m'), silentAt(alertname, LATE)])),
      ];
      expect(await findTestFaults(alerts, tests)).toBe('');
    },
  );

  it('a test that expects another alert, and a rule that does not parse, are told', async () => {
    const late = alerts.filter(({ alert }) => alert === 'PopbridgeSchedulesLate');
    expect(
      await findTestFaults(late, [testOf({ [OLDEST_DUE]: staying(400) }, [silentAt(late[0]!.alert, LATE)])]),
    ).toContain('FAILED');
    expect(await findRuleFaults([{ alert: 'A', expr: 'sum(rate(x[5m])' }])).toContain('parse error');
  });

  it('takes every query of the dashboard', async () => {
    const { data } = find(watched, 'ConfigMap', 'mail-popbridge-dashboard') as unknown as {
      data: Record<string, string>;
    };
    const { panels } = JSON.parse(Object.values(data)[0] ?? '') as { panels: { targets: { expr: string }[] }[] };
    const queries = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    expect(queries.length).toBeGreaterThan(15);
    const rules = queries.map((expr, n) => ({ record: `query:${n}`, expr: expr.replaceAll('$__rate_interval', '5m') }));
    expect(await findRuleFaults(rules)).toBe('');
  });

  describe('what KEDA asks', () => {
    const queries = (): Record<string, string> => {
      const { spec } = find(watched, 'ScaledObject') as unknown as {
        spec: { triggers: { name: string; metadata: { query: string } }[] };
      };
      return Object.fromEntries(spec.triggers.map(({ name: trigger, metadata }) => [trigger, metadata.query]));
    };
    /** Null: no answer. KEDA takes one number, and no more. */
    const expectAnswers = async (series: Series, answers: Readonly<Record<string, number | null>>): Promise<void> => {
      const asked = queries();
      const test: RuleTest = {
        interval: '1m',
        input_series: Object.entries(series).map(([each, values]) => ({ series: each, values })),
        promql_expr_test: Object.entries(answers).map(([trigger, value]) => ({
          expr: asked[trigger] ?? trigger,
          eval_time: LATE,
          exp_samples: value === null ? [] : [{ labels: '{}', value }],
        })),
      };
      expect(await findTestFaults(alerts, [test])).toBe('');
    };

    it('has one number for an answer, of the release’s own series', async () => {
      const others = { [`popbridge_schedule_oldest_due_seconds{namespace="other",service="x"}`]: staying(999) };
      const waiting = one('popbridge_queue_jobs', 'queue="mailboxes-0",state="waiting"', staying(70));
      const late = lags({ '60': 50, '120': 50, '300': 100, '+Inf': 100 });
      await expectAnswers(
        { ...WELL, ...others, ...waiting, ...late, [OLDEST_DUE]: staying(90) },
        { 'oldest-due': 90, 'waiting-fetch': 20, 'waiting-mailboxes-0': 70, 'schedule-lag': 282 },
      );
    });

    it('where nothing was due, no schedule was late', async () => {
      await expectAnswers(lags({ '60': 0, '+Inf': 0 }), { 'schedule-lag': 0 });
    });

    it('has no answer where nobody tells, so that no worker goes for that', async () => {
      await expectAnswers({}, { 'oldest-due': null, 'waiting-fetch': null, 'waiting-mailboxes-7': null });
    });
  });
});
