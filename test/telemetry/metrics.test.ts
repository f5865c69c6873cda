import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { METRICS, type MetricSpec } from '../../src/telemetry/metric-list.ts';
import { createMetrics, type SharedState } from '../../src/telemetry/metrics.ts';
import { parseMetrics, renderMetricsTable, sumOf } from '../support/metrics.ts';

const shared: SharedState = {
  oldestDueMs: 1_500,
  queues: { fetch: { waiting: 3, active: 2, delayed: 1 } },
  mailboxes: { ok: 5, retrying: 0, needs_credentials: 2, blocked: 0, paused: 1 },
  webhooks: { ok: 1, open: 1, disabled: 0 },
  redisBytes: 1_000,
  redisBytesMax: 0,
};
const sharedNames = (METRICS as readonly MetricSpec[]).filter(({ isShared }) => isShared).map(({ name }) => name);

it('the README has the metrics as the list has them', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const table = /<!-- metrics -->\n([^]*?)\n<!-- \/metrics -->/.exec(readme)?.[1];
  expect(table).toBe(renderMetricsTable(METRICS));
});

it('what all processes share is served with its values where it is the turn of this one, and not at all otherwise', async () => {
  let current: SharedState | null = shared;
  const metrics = createMetrics(async () => current);
  const mine = parseMetrics(await metrics.render());
  expect(sumOf(mine, 'popbridge_queue_jobs', { queue: 'fetch', state: 'waiting' })).toBe(3);
  expect(sumOf(mine, 'popbridge_mailboxes')).toBe(8);
  expect(sumOf(mine, 'popbridge_schedule_oldest_due_seconds')).toBe(1.5);
  expect(mine.filter(({ name }) => name === 'popbridge_redis_memory_max_bytes')).toHaveLength(1);

  current = null;
  const text = await metrics.render();
  for (const name of sharedNames) expect(text).not.toContain(name);
  expect(sumOf(parseMetrics(text), 'popbridge_redis_up')).toBe(1);
});

it('without Redis a process serves what it counts by itself, and says that Redis is away', async () => {
  const metrics = createMetrics(() => Promise.reject(new Error('away')));
  metrics.observeAttempt('retried', 'storage_failed');
  const samples = parseMetrics(await metrics.render());
  expect(samples.filter(({ name }) => sharedNames.includes(name as never))).toEqual([]);
  expect(sumOf(samples, 'popbridge_redis_up')).toBe(0);
  expect(sumOf(samples, 'popbridge_fetches_total', { outcome: 'retried', code: 'storage_failed' })).toBe(1);
  expect(samples.map(({ name }) => name)).toContain('nodejs_eventloop_lag_p99_seconds');
});

it('a method that nobody knows has no label of its own, so that callers cannot make any', async () => {
  const metrics = createMetrics(async () => null);
  for (const method of ['BREW', 'WHEN', 'GET']) metrics.observeRequest({ method, route: 'none', status: 404, ms: 1 });
  const samples = parseMetrics(await metrics.render());
  expect(sumOf(samples, 'popbridge_http_requests_total', { method: 'other' })).toBe(2);
  expect(sumOf(samples, 'popbridge_http_requests_total')).toBe(3);
});
