/** The metrics of this process and, where it is its turn, of what all share. Wiring of the composition root, without rules. */
import { randomUUID } from 'node:crypto';
import { mastersOf, type RedisClient } from './redis/client.ts';
import { tenants } from './access/access.ts';
import type { DueIndex } from './fetch/due-index.ts';
import { mailboxShards } from './fetch/limits.ts';
import { MAILBOX_QUEUES } from './fetch/mailbox-queues.ts';
import { FETCH_QUEUE } from './fetch/queue.ts';
import type { MailboxStore } from './mailbox/mailbox-store.ts';
import { metricsTurnKey } from './redis/keys.ts';
import { countJobs, oldestWaiting } from './redis/queue-jobs.ts';
import { readMemory, type ServerMemory } from './redis/server-facts.ts';
import { createTurn, type Turn } from './redis/turn.ts';
import { sharedTurnMs } from './telemetry/limits.ts';
import { createMetrics, type Metrics, type SharedState } from './telemetry/metrics.ts';
import type { WebhookStore } from './webhook/webhook-store.ts';

export interface MeasuredParts {
  clock: { now(): number };
  redis: RedisClient;
  due: Pick<DueIndex, 'oldest'>;
  mailboxes: Pick<MailboxStore, 'countStates'>;
  webhooks: Pick<WebhookStore, 'countStates'>;
}

/** The parts are there later than what they are measured by: `parts` is asked when metrics are. */
export function measure(redis: RedisClient, parts: () => MeasuredParts): { metrics: Metrics; turn: Turn } {
  const turn = createTurn(redis, metricsTurnKey, randomUUID(), sharedTurnMs);
  return { metrics: createMetrics(async () => ((await turn.take()) ? readShared(parts()) : null)), turn };
}

/** Each of these takes Redis constant time, or as good as: so it costs the same with a million mailboxes. */
async function readShared({ clock, redis, due, mailboxes, webhooks }: MeasuredParts): Promise<SharedState> {
  const queues = [FETCH_QUEUE, ...MAILBOX_QUEUES];
  const shards = Array.from({ length: mailboxShards }, (_, shard) => shard);
  const [jobs, mailboxStates, webhookStates, memory, ...dueMs] = await Promise.all([
    Promise.all(queues.map(async (queue) => [queue, await countJobs(redis, queue)] as const)),
    mailboxes.countStates(tenants),
    webhooks.countStates(tenants),
    readFullest(redis),
    // What is due is in the index, or waits in its queue.
    ...shards.map((shard) => due.oldest(shard)),
    ...MAILBOX_QUEUES.map((queue) => oldestWaiting(redis, queue)),
  ]);
  const nowMs = clock.now();
  return {
    oldestDueMs: Math.max(0, ...dueMs.map((ms) => (ms === null ? 0 : nowMs - ms))),
    queues: Object.fromEntries(jobs),
    mailboxes: mailboxStates,
    webhooks: webhookStates,
    redisBytes: memory.bytes,
    redisBytesMax: memory.bytesMax,
  };
}

/** The memory of the server that has the least left: of a cluster's masters, the first one that will refuse writes. */
async function readFullest(redis: RedisClient): Promise<ServerMemory> {
  const memories = await Promise.all([...mastersOf(redis).values()].map((master) => readMemory(master.redis)));
  const shareOf = ({ bytes, bytesMax }: ServerMemory): number => (bytesMax > 0 ? bytes / bytesMax : 0);
  const [fullest = { bytes: 0, bytesMax: 0 }] = memories.toSorted(
    (one, other) => shareOf(other) - shareOf(one) || other.bytes - one.bytes,
  );
  return fullest;
}
