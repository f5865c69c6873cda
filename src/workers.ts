/** What a worker runs: fetches, the tick, deliveries, and the sweeper. Wiring of the composition root, without rules. */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { inlineAttachments } from './event/inline-attachments.ts';
import { linkSeconds } from './event/limits.ts';
import { buildPayload, tellBriefly, tellWhole, type Enclosures, type TellMessage } from './event/payload.ts';
import { AppError } from './errors.ts';
import type { FetchRef } from './fetch/fetch.ts';
import { createLeases } from './fetch/lease.ts';
import { createPipeliningMemory } from './fetch/pipelining-memory.ts';
import { FETCH_QUEUE } from './fetch/queue.ts';
import type { FetchPorts } from './fetch/run.ts';
import { abandonAskedFetch, runAskedFetch } from './fetch/run-asked.ts';
import { createMailboxQueues, MAILBOX_QUEUES } from './fetch/mailbox-queues.ts';
import { createFetchOf } from './fetch/new-fetch.ts';
import { abandonMailbox, runMailbox, type RunMailboxPorts } from './fetch/run-mailbox.ts';
import { startTicker } from './fetch/tick.ts';
import { createFetchWorker } from './fetch/worker.ts';
import { linkMessage } from './http/message-links.ts';
import type { MailboxRef } from './mailbox/mailbox.ts';
import { createSweeper } from './message/sweeper.ts';
import type { MimePool } from './mime/pool.ts';
import { isRedisUnavailable } from './redis/connection.ts';
import { createDurability } from './redis/durability.ts';
import { acknowledgeMessage } from './webhook/acknowledgement.ts';
import type { PayloadForm } from './webhook/webhook.ts';
import { startDispatcher, type Dispatcher } from './webhook/dispatcher.ts';
import { drainWebhook, type DrainPorts } from './webhook/drain.ts';
import { createBeat } from './webhook/beat.ts';
import { createLanes } from './webhook/lanes.ts';
import {
  crowdedAnswerMs,
  inlinedBytesMax,
  leaveBeatMs,
  placesInTurn,
  recordBeatMs,
  slowAnswerMs,
} from './webhook/limits.ts';
import { createPayloadRoom } from './webhook/payload-room.ts';
import { type Parts } from './parts.ts';

export async function startWorkers(parts: Parts): Promise<void> {
  const { config, logger, clock, egress, redis, messages, mime, checks, onDrain, onClose } = parts;
  await checkParser(mime);
  await messages.checkStorage();
  const sweeper = createSweeper({ sweep: messages.sweep, audit: messages.audit, logger });
  onClose(() => sweeper.close());

  const fetchPorts: FetchPorts = {
    clock,
    resolve: egress.resolvePop3,
    pipelining: createPipeliningMemory(clock),
    records: parts.records,
    leases: createLeases(redis),
    hosts: parts.hosts,
    credentials: parts.credentials,
    logins: parts.logins,
    mailboxes: { ...parts.mailboxes, ledger: parts.mailboxLedger, planNext: parts.schedule.planNext },
    messages,
    parse: mime.parse,
    durability: createDurability(await parts.openStore(), clock, {
      writes: redis,
      replicasMin: config.redisReplicas,
    }),
    announce: parts.announcer,
    observer: parts.metrics,
    trace: parts.trace,
    isStorageAway: isRedisUnavailable,
    logger,
    uniqueId: randomUUID,
  };
  const fetchWorker = await createFetchWorker<FetchRef>({
    queues: [FETCH_QUEUE],
    blocking: parts.openBlocking(),
    concurrency: config.fetchConcurrency,
    run: (ref, shutdown) => runAskedFetch(fetchPorts, ref, shutdown),
    abandon: (ref) => abandonAskedFetch(fetchPorts, ref),
    clock,
    logger,
  });
  onDrain(() => fetchWorker.close(config.shutdownMs));

  await startMailboxes(parts, fetchPorts);

  const dispatcher = startWebhooks(parts);
  onDrain(() => dispatcher.close(config.shutdownMs));

  const { liveness } = parts;
  liveness.watch('fetchWorker', fetchWorker.signMs);
  liveness.watch('webhookDispatcher', dispatcher.signMs);
  checks.set('fetchWorker', async () => (fetchWorker.isRunning() ? 'ok' : 'not running'));
  checks.set('webhookDispatcher', async () => (dispatcher.isRunning() ? 'ok' : 'not running'));
}

function tellersOf({ config, clock, links, messages }: Parts): Record<PayloadForm, TellMessage> {
  const by = { links, clock, publicUrl: config.publicUrl ?? null };
  const linked: Enclosures = { links: (tenant, message) => linkMessage(by, tenant, message, linkSeconds) };
  const attachments: Enclosures['attachments'] = (tenant, message, take) =>
    inlineAttachments(messages, tenant, message, take);
  return {
    thin: tellBriefly(messages, linked),
    texts: tellWhole(messages, linked),
    full: tellWhole(messages, { ...linked, attachments }),
  };
}

function startWebhooks(parts: Parts): Dispatcher {
  const { config, logger, clock, endpoints, awaited, deliveries, messages } = parts;
  const tellers = tellersOf(parts);
  const sleepUntil = async (ms: number, signal?: AbortSignal): Promise<void> => sleep(ms, undefined, { signal });
  const drainPorts: DrainPorts = {
    clock: { now: clock.now, sleep: sleepUntil },
    random: Math.random,
    retryDelaysMs: config.webhookRetryDelaysMs,
    buildPayload: (event, form, take) => buildPayload(tellers[form], event, take),
    room: createPayloadRoom({ max: inlinedBytesMax, maxOfOne: inlinedBytesMax / 2 }),
    post: parts.sender.post,
    observeDelivery: parts.metrics.observeDelivery,
    trace: parts.trace,
    webhooks: endpoints,
    deliveries,
    lanes: createLanes({
      max: config.webhookConcurrency,
      slowAfterMs: slowAnswerMs,
      crowdedAfterMs: crowdedAnswerMs,
      placesInTurn,
      after(ms, call) {
        const timer = setTimeout(call, ms);
        return () => clearTimeout(timer);
      },
    }),
    beats: { leave: createBeat(leaveBeatMs, sleepUntil), record: createBeat(recordBeatMs, sleepUntil) },
    announce: (event) => parts.announcer.announce(event.tenant, [event]),
    onDelivered: (delivery) =>
      acknowledgeMessage({ webhooks: endpoints, awaited, acknowledge: messages.acknowledgeOf }, delivery),
    uniqueId: randomUUID,
    logger,
  };
  return startDispatcher({
    due: parts.dueWebhooks,
    drain: (ref, signal) => drainWebhook(drainPorts, ref, signal),
    clock: drainPorts.clock,
    isStorageAway: isRedisUnavailable,
    logger,
  });
}

/** Mailboxes that are due: the tick makes jobs of them, and a worker runs these. */
async function startMailboxes(parts: Parts, fetchPorts: FetchPorts): Promise<void> {
  const { config, logger, clock, due, redis, schedule, mailboxes, checks, onDrain, onClose } = parts;
  const queues = await createMailboxQueues(redis, logger);
  onClose(() => queues.close());
  const newFetch = { clock, random: randomBytes, records: parts.records };
  const ports: RunMailboxPorts = {
    ...fetchPorts,
    schedule,
    stored: mailboxes,
    createFetch: (mailbox) => createFetchOf(newFetch, mailbox, 'schedule'),
  };
  const worker = await createFetchWorker<MailboxRef>({
    queues: MAILBOX_QUEUES,
    blocking: parts.openBlocking(),
    concurrency: config.fetchConcurrency,
    run: (ref, shutdown) => runMailbox(ports, ref, shutdown),
    observeLag: parts.metrics.observeLag,
    abandon: (ref) => abandonMailbox(ports, ref),
    clock,
    logger,
  });
  onDrain(() => worker.close(config.shutdownMs));
  const ticker = startTicker({
    due,
    queues,
    clock: { now: clock.now, sleep: (ms, signal) => sleep(ms, undefined, { signal }) },
    random: Math.random,
    owner: randomUUID(),
    isStorageAway: isRedisUnavailable,
    logger,
  });
  onDrain(() => ticker.close());
  parts.liveness.watch('mailboxWorker', worker.signMs);
  parts.liveness.watch('ticker', ticker.signMs);
  checks.set('mailboxWorker', async () => (worker.isRunning() ? 'ok' : 'not running'));
}

/** Threads that cannot load would let every message fail after its time limit, one by one. */
async function checkParser(mime: MimePool): Promise<void> {
  const { subject } = await mime.parse(Buffer.from('Subject: ready\r\n\r\n'));
  if (subject !== 'ready') throw new AppError('internal_error', 'The parser threads do not work; see the log.');
}
