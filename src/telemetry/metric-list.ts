/**
 * Every metric of ours, in one place: its name, its labels and all values that these may have. Nothing of a user is in a label, so that
 * their number has a bound. Node's own metrics, which prom-client collects, are not listed.
 */
import { FAILURE_CODES } from '../errors.ts';

export interface MetricSpec {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** By name, what values there are; or, where they are of another list, its name. */
  readonly labels: Readonly<Record<string, readonly string[] | ListedElsewhere>>;
  /** Upper bounds of a histogram's buckets, in the unit that the name ends with. */
  readonly buckets?: readonly number[];
  /** Of what all processes share: one of them serves it at a time. */
  readonly isShared?: true;
}

/** `routes`: the contract's paths. `statuses`: HTTP. `warnings`: of the parser. `queues`: one for each shard. */
export type ListedElsewhere = 'routes' | 'statuses' | 'warnings' | 'queues';

export const METHODS = ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE', 'OPTIONS', 'other'] as const;
/** `retried`: another attempt will follow. `interrupted`: this process stopped. `lost`: another one took over. */
export const FETCH_OUTCOMES = ['succeeded', 'failed', 'cancelled', 'retried', 'interrupted', 'lost'] as const;
export const MESSAGE_OUTCOMES = ['stored', 'duplicate', 'omitted', 'filtered', 'failed'] as const;
export const SESSION_PHASES = ['connect', 'login', 'list', 'retrieve', 'delete'] as const;
/** `retried`: not acknowledged, and sent again later. `exhausted`: not acknowledged by the last attempt. `gone`: 410. `dropped`: nothing was left to send. */
export const DELIVERY_OUTCOMES = ['delivered', 'retried', 'exhausted', 'gone', 'dropped'] as const;
export const BLOB_OPERATIONS = ['write', 'open', 'read', 'read_tail', 'has', 'delete'] as const;
export const MAILBOX_STATES = ['ok', 'retrying', 'needs_credentials', 'blocked', 'paused'] as const;
export const WEBHOOK_STATES = ['ok', 'open', 'disabled'] as const;
export const JOB_STATES = ['waiting', 'active', 'delayed'] as const;

const answerSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const workSeconds = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
const lagSeconds = [0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600];

export const METRICS = [
  {
    name: 'popbridge_http_requests_total',
    type: 'counter',
    help: 'Requests to the API that were answered.',
    labels: { method: METHODS, route: 'routes', status: 'statuses' },
  },
  {
    name: 'popbridge_http_request_duration_seconds',
    type: 'histogram',
    help: 'How long they took until the head of the answer, the waiting that `Prefer: wait` asks for included.',
    labels: { method: METHODS, route: 'routes' },
    buckets: answerSeconds,
  },
  {
    name: 'popbridge_fetches_total',
    type: 'counter',
    help: 'Attempts of fetches that ended, and the code of what they failed with.',
    labels: { outcome: FETCH_OUTCOMES, code: [...FAILURE_CODES, 'none'] },
  },
  {
    name: 'popbridge_messages_total',
    type: 'counter',
    help: 'Messages that fetches came by: stored (or known by their bytes, or too large and stored without them), left out by a filter, failed.',
    labels: { outcome: MESSAGE_OUTCOMES },
  },
  {
    name: 'popbridge_message_bytes_total',
    type: 'counter',
    help: 'Bytes of mail that were retrieved and stored.',
    labels: {},
  },
  {
    name: 'popbridge_session_phase_seconds',
    type: 'histogram',
    help: 'How long the phases of a POP3 session took.',
    labels: { phase: SESSION_PHASES },
    buckets: workSeconds,
  },
  {
    name: 'popbridge_lease_contention_total',
    type: 'counter',
    help: 'Fetches that found their maildrop held by another one.',
    labels: {},
  },
  {
    name: 'popbridge_schedule_lag_seconds',
    type: 'histogram',
    help: 'How long mailboxes had been due when a worker took them up.',
    labels: {},
    buckets: lagSeconds,
  },
  {
    name: 'popbridge_schedule_oldest_due_seconds',
    type: 'gauge',
    help: 'How long the mailbox that has waited the longest has been due; 0 where none waits.',
    labels: {},
    isShared: true,
  },
  {
    name: 'popbridge_queue_jobs',
    type: 'gauge',
    help: 'Jobs in each queue.',
    labels: { queue: 'queues', state: JOB_STATES },
    isShared: true,
  },
  {
    name: 'popbridge_deliveries_total',
    type: 'counter',
    help: 'Attempts of deliveries to webhooks that ended.',
    labels: { outcome: DELIVERY_OUTCOMES },
  },
  {
    name: 'popbridge_delivery_duration_seconds',
    type: 'histogram',
    help: 'How long they took, from the name lookup to the end of the answer.',
    labels: {},
    buckets: answerSeconds,
  },
  {
    name: 'popbridge_webhooks',
    type: 'gauge',
    help: 'Webhooks by state; `open`: the breaker is, and they are probed from time to time.',
    labels: { state: WEBHOOK_STATES },
    isShared: true,
  },
  {
    name: 'popbridge_mailboxes',
    type: 'gauge',
    help: 'Stored mailboxes by state.',
    labels: { state: MAILBOX_STATES },
    isShared: true,
  },
  {
    name: 'popbridge_parse_warnings_total',
    type: 'counter',
    help: 'Messages that were parsed with a warning of this code.',
    labels: { code: 'warnings' },
  },
  {
    name: 'popbridge_blob_operation_seconds',
    type: 'histogram',
    help: 'How long the blob store took.',
    labels: { operation: BLOB_OPERATIONS, outcome: ['ok', 'failed'] },
    buckets: answerSeconds,
  },
  {
    name: 'popbridge_redis_up',
    type: 'gauge',
    help: 'Whether Redis answered when the metrics were read: 1 or 0.',
    labels: {},
  },
  {
    name: 'popbridge_redis_memory_bytes',
    type: 'gauge',
    help: "Redis's memory in use; in a cluster, that of the master which has the least left.",
    labels: {},
    isShared: true,
  },
  {
    name: 'popbridge_redis_memory_max_bytes',
    type: 'gauge',
    help: 'What it may use (`maxmemory`); 0 where it has no bound of its own.',
    labels: {},
    isShared: true,
  },
] as const satisfies readonly MetricSpec[];

export type MetricName = (typeof METRICS)[number]['name'];
