/**
 * What is measured, as functions that the parts are given and that say nothing of how it is kept. `METRICS` lists it all. What all
 * processes share is read when it is asked for, and served by one of them at a time: sums over all processes are right as they are.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { FailureCode } from '../errors.ts';
import {
  METHODS,
  METRICS,
  type BLOB_OPERATIONS,
  type DELIVERY_OUTCOMES,
  type FETCH_OUTCOMES,
  type JOB_STATES,
  type MAILBOX_STATES,
  type MESSAGE_OUTCOMES,
  type MetricName,
  type MetricSpec,
  type SESSION_PHASES,
  type WEBHOOK_STATES,
} from './metric-list.ts';

type OneOf<List extends readonly string[]> = List[number];

export interface Metrics {
  observeRequest(request: { method: string; route: string; status: number; ms: number }): void;
  observeAttempt(outcome: OneOf<typeof FETCH_OUTCOMES>, code: FailureCode | null): void;
  observePhase(phase: OneOf<typeof SESSION_PHASES>, ms: number): void;
  /** @param bytes that were retrieved. */
  observeMessage(outcome: OneOf<typeof MESSAGE_OUTCOMES>, bytes: number): void;
  observeWarning(code: string): void;
  observeContention(): void;
  observeLag(ms: number): void;
  observeDelivery(outcome: OneOf<typeof DELIVERY_OUTCOMES>, ms: number): void;
  observeBlob(operation: OneOf<typeof BLOB_OPERATIONS>, outcome: 'ok' | 'failed', ms: number): void;
  /** In the text format of Prometheus. */
  render(): Promise<string>;
  contentType: string;
}

/** What all processes share, as it is now. */
export interface SharedState {
  oldestDueMs: number;
  queues: Readonly<Record<string, Readonly<Record<OneOf<typeof JOB_STATES>, number>>>>;
  mailboxes: Readonly<Record<OneOf<typeof MAILBOX_STATES>, number>>;
  webhooks: Readonly<Record<OneOf<typeof WEBHOOK_STATES>, number>>;
  redisBytes: number;
  redisBytesMax: number;
}

/** @param readShared null where another process serves it. Where it throws, the metrics of this process are served all the same. */
export function createMetrics(readShared: () => Promise<SharedState | null>): Metrics {
  const registry = new Registry();
  const sharedRegistry = new Registry();
  collectDefaultMetrics({ register: registry });
  const metrics = new Map(
    (METRICS as readonly (MetricSpec & { name: MetricName })[]).map((spec): [MetricName, unknown] => [
      spec.name,
      create(spec, spec.isShared ? sharedRegistry : registry),
    ]),
  );
  const counter = (name: MetricName): Counter => metrics.get(name) as Counter;
  const gauge = (name: MetricName): Gauge => metrics.get(name) as Gauge;
  const time = (name: MetricName, ms: number, labels: Record<string, string> = {}): void =>
    (metrics.get(name) as Histogram).observe(labels, ms / 1000);

  function show(shared: SharedState): void {
    gauge('popbridge_schedule_oldest_due_seconds').set(shared.oldestDueMs / 1000);
    gauge('popbridge_redis_memory_bytes').set(shared.redisBytes);
    gauge('popbridge_redis_memory_max_bytes').set(shared.redisBytesMax);
    for (const [queue, jobs] of Object.entries(shared.queues)) {
      for (const [state, count] of Object.entries(jobs)) gauge('popbridge_queue_jobs').set({ queue, state }, count);
    }
    for (const [state, count] of Object.entries(shared.mailboxes)) gauge('popbridge_mailboxes').set({ state }, count);
    for (const [state, count] of Object.entries(shared.webhooks)) gauge('popbridge_webhooks').set({ state }, count);
  }

  return {
    observeRequest({ method: given, route, status, ms }) {
      const method = METHODS.find((known) => known === given) ?? 'other';
      counter('popbridge_http_requests_total').inc({ method, route, status: String(status) });
      time('popbridge_http_request_duration_seconds', ms, { method, route });
    },
    observeAttempt: (outcome, code) => counter('popbridge_fetches_total').inc({ outcome, code: code ?? 'none' }),
    observePhase: (phase, ms) => time('popbridge_session_phase_seconds', ms, { phase }),
    observeMessage(outcome, bytes) {
      counter('popbridge_messages_total').inc({ outcome });
      if (bytes > 0) counter('popbridge_message_bytes_total').inc(bytes);
    },
    observeWarning: (code) => counter('popbridge_parse_warnings_total').inc({ code }),
    observeContention: () => counter('popbridge_lease_contention_total').inc(),
    observeLag: (ms) => time('popbridge_schedule_lag_seconds', Math.max(0, ms)),
    observeDelivery(outcome, ms) {
      counter('popbridge_deliveries_total').inc({ outcome });
      if (outcome !== 'dropped') time('popbridge_delivery_duration_seconds', ms);
    },
    observeBlob: (operation, outcome, ms) => time('popbridge_blob_operation_seconds', ms, { operation, outcome }),
    contentType: registry.contentType,
    async render() {
      let shared: SharedState | null = null;
      try {
        shared = await readShared();
        gauge('popbridge_redis_up').set(1);
      } catch {
        gauge('popbridge_redis_up').set(0);
      }
      if (shared) show(shared);
      const texts = [registry, ...(shared ? [sharedRegistry] : [])].map((one) => one.metrics());
      return (await Promise.all(texts)).join('\n');
    },
  };
}

function create({ name, help, type, labels, buckets }: MetricSpec, registry: Registry): Counter | Gauge | Histogram {
  const options = { name, help, labelNames: Object.keys(labels), registers: [registry] };
  switch (type) {
    case 'counter':
      return new Counter(options);
    case 'gauge':
      return new Gauge(options);
    case 'histogram':
      return new Histogram({ ...options, ...(buckets && { buckets: [...buckets] }) });
  }
}
