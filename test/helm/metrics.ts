/** The series that alerts, dashboard and KEDA may ask for: name to labels beside those of Prometheus. */
export const METRICS: Readonly<Record<string, readonly string[]>> = {
  popbridge_http_requests_total: ['method', 'route', 'status'],
  ...histogram('popbridge_http_request_duration_seconds', ['method', 'route', 'status']),
  popbridge_fetches_total: ['outcome', 'code'],
  popbridge_messages_total: ['outcome'],
  popbridge_message_bytes_total: [],
  ...histogram('popbridge_session_phase_seconds', ['phase']),
  popbridge_lease_contention_total: [],
  ...histogram('popbridge_schedule_lag_seconds', []),
  popbridge_schedule_oldest_due_seconds: [],
  popbridge_queue_jobs: ['queue', 'state'],
  popbridge_deliveries_total: ['outcome'],
  ...histogram('popbridge_delivery_duration_seconds', ['outcome']),
  popbridge_webhooks: ['state'],
  popbridge_mailboxes: ['state'],
  popbridge_parse_warnings_total: ['code'],
  ...histogram('popbridge_blob_operation_seconds', ['operation', 'outcome']),
  popbridge_redis_memory_bytes: [],
  popbridge_redis_memory_max_bytes: [],
  nodejs_eventloop_lag_p99_seconds: [],
};

function histogram(name: string, labels: readonly string[]): Record<string, readonly string[]> {
  return { [`${name}_bucket`]: [...labels, 'le'], [`${name}_count`]: labels, [`${name}_sum`]: labels };
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
