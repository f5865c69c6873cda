/**
 * The composition root: builds every part, starts them in order, closes them in reverse. It holds the wiring and no rules.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { addAbortSignal, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAccess, type Access } from './access/access.ts';
import { findSettings } from './autoconfig/find-settings.ts';
import { createDnsResolver } from './autoconfig/sources.ts';
import { type MadeKey } from './config/keys.ts';
import { createConsumerStore } from './event/consumer-store.ts';
import { createEventFeed } from './event/feed.ts';
import { createNews } from './event/news.ts';
import { inlineAttachments } from './event/inline-attachments.ts';
import { linkSeconds } from './event/limits.ts';
import { buildEnvelope, buildPayload, type Enclosures } from './event/payload.ts';
import { AppError } from './errors.ts';
import type { FetchRef } from './fetch/fetch.ts';
import { createLeases } from './fetch/lease.ts';
import { createPipeliningMemory } from './fetch/pipelining-memory.ts';
import { createFetchQueue, FETCH_QUEUE } from './fetch/queue.ts';
import type { FetchPorts } from './fetch/run.ts';
import { abandonAskedFetch, runAskedFetch } from './fetch/run-asked.ts';
import { createFetchService } from './fetch/service.ts';
import { createMailboxFetches } from './fetch/mailbox-fetches.ts';
import { createMailboxQueues, MAILBOX_QUEUES } from './fetch/mailbox-queues.ts';
import { createFetchOf } from './fetch/new-fetch.ts';
import { abandonMailbox, runMailbox, type RunMailboxPorts } from './fetch/run-mailbox.ts';
import { startTicker } from './fetch/tick.ts';
import { verifyMailbox } from './fetch/verification.ts';
import { createFetchWorker } from './fetch/worker.ts';
import { linkMessage } from './http/message-links.ts';
import { createHttpApp } from './http/app.ts';
import { startHttpServer } from './http/server.ts';
import type { MailboxRef } from './mailbox/mailbox.ts';
import { createMailboxService } from './mailbox/service.ts';
import { withoutBodies } from './message/without-bodies.ts';
import { messageBytesMaxOf } from './message/blobs/blob-store-choice.ts';
import { createSweeper } from './message/sweeper.ts';
import { toPublicMessage } from './mime/public-message.ts';
import { type MimePool } from './mime/pool.ts';
import { isRedisUnavailable } from './redis/connection.ts';
import { createDurability } from './redis/durability.ts';
import { acknowledgeMessage } from './webhook/acknowledgement.ts';
import { abandonDelivery, attemptDelivery, type DeliveryPorts } from './webhook/delivery.ts';
import { createDeliveryService } from './webhook/delivery-service.ts';
import { startDispatcher, type Dispatcher } from './webhook/dispatcher.ts';
import { drainWebhook, type DrainPorts } from './webhook/drain.ts';
import { createLanes } from './webhook/lanes.ts';
import { crowdedAnswerMs, slowAnswerMs } from './webhook/limits.ts';
import { sendTest } from './webhook/trial.ts';
import { createWebhookService } from './webhook/webhook-service.ts';
import { createWebhookWorker } from './webhook/worker.ts';
import { buildParts, readKeys, type AppOptions, type Closer, type Parts } from './parts.ts';

export interface App {
  /** Where the API, or a worker's health, listens. */
  url: string;
  /** The operator key, where this start has made it. */
  madeKey: Pick<MadeKey, 'value' | 'path'> | null;
  /** The file of master keys that this start has made. */
  madeMasterKeys: string | null;
  /** Drains: no new work, `config.shutdownMs` for what runs. Safe to call twice. */
  close(): Promise<void>;
}

/** @throws AppError `invalid_config` or `storage_unavailable`; what had been started is closed again. */
export async function startApp(options: AppOptions): Promise<App> {
  const drainers: Closer[] = [];
  const closers: Closer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(drainers.splice(0).map(async (drain) => drain()));
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const { config } = options;
    const keys = await readKeys(config);
    const parts = await buildParts(options, keys, {
      onDrain: (drain) => drainers.push(drain),
      onClose: (closer) => closers.push(closer),
    });
    // The port first: no job is taken up by a process that cannot start.
    const url = await startApi(parts, createAccess(keys.operator.value));
    if (config.role !== 'api') await startWorkers(parts);
    const { operator, master } = keys;
    return {
      url,
      madeKey: operator.isNew ? operator : null,
      madeMasterKeys: master.isNew ? master.place : null,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startWorkers(parts: Parts): Promise<void> {
  const { config, logger, clock, egress, redis, messages, subscriptions, mime, checks, onDrain, onClose } = parts;
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
    isStorageAway: isRedisUnavailable,
    logger,
    uniqueId: randomUUID,
  };
  const fetchWorker = createFetchWorker<FetchRef>({
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

  const enclosures = enclosuresOf(parts);
  const deliveryPorts: DeliveryPorts = {
    clock,
    random: Math.random,
    subscriptions,
    buildPayload: (event) => buildPayload(messages, event, enclosures.thin),
    post: parts.sender.post,
  };
  const webhookWorker = createWebhookWorker({
    blocking: parts.openBlocking(),
    concurrency: config.webhookConcurrency,
    attempt: (event, attempt) => attemptDelivery(deliveryPorts, event, attempt),
    abandon: (event, attempts) => abandonDelivery(deliveryPorts, event, attempts),
    clock,
    logger,
  });
  onDrain(() => webhookWorker.close(config.shutdownMs));
  const dispatcher = startWebhooks(parts);
  onDrain(() => dispatcher.close(config.shutdownMs));

  checks.set('fetchWorker', async () => (fetchWorker.isRunning() ? 'ok' : 'not running'));
  checks.set('webhookWorker', async () => (webhookWorker.isRunning() && dispatcher.isRunning() ? 'ok' : 'not running'));
}

function enclosuresOf({ config, clock, links, messages }: Parts): Record<'thin' | 'full', Enclosures> {
  const by = { links, clock, publicUrl: config.publicUrl ?? null };
  const thin: Enclosures = { links: (tenant, message) => linkMessage(by, tenant, message, linkSeconds) };
  return { thin, full: { ...thin, attachments: (tenant, message) => inlineAttachments(messages, tenant, message) } };
}

/** Deliveries to the webhooks of tenants. */
function startWebhooks(parts: Parts): Dispatcher {
  const { config, logger, clock, webhooks, deliveries, messages } = parts;
  const enclosures = enclosuresOf(parts);
  const sleepUntil = async (ms: number, signal?: AbortSignal): Promise<void> => sleep(ms, undefined, { signal });
  const drainPorts: DrainPorts = {
    clock: { now: clock.now, sleep: sleepUntil },
    random: Math.random,
    retryDelaysMs: config.webhookRetryDelaysMs,
    buildPayload: (event, form) =>
      buildPayload(form === 'thin' ? withoutBodies(messages) : messages, event, enclosures[form]),
    post: parts.sender.post,
    webhooks,
    deliveries,
    lanes: createLanes({
      max: config.webhookConcurrency,
      slowAfterMs: slowAnswerMs,
      crowdedAfterMs: crowdedAnswerMs,
      after(ms, call) {
        const timer = setTimeout(call, ms);
        return () => clearTimeout(timer);
      },
    }),
    announce: (event) => parts.announcer.announce(event.tenant, [event]),
    onDelivered: (delivery) =>
      acknowledgeMessage({ webhooks, deliveries, acknowledge: messages.acknowledge }, delivery),
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
  const worker = createFetchWorker<MailboxRef>({
    queues: MAILBOX_QUEUES,
    blocking: parts.openBlocking(),
    concurrency: config.fetchConcurrency,
    run: (ref, shutdown) => runMailbox(ports, ref, shutdown),
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
  checks.set('mailboxWorker', async () => (worker.isRunning() ? 'ok' : 'not running'));
}

/** Resolves with where it listens. A worker answers for its health there, and for nothing else. */
async function startApi(parts: Parts, access: Access): Promise<string> {
  const {
    config,
    logger,
    clock,
    egress,
    redis,
    records,
    credentials,
    messages,
    subscriptions,
    mime,
    links,
    checks,
    onDrain,
    onClose,
  } = parts;
  const queue = await createFetchQueue(redis, parts.openBlocking(), logger);
  onClose(() => queue.close());
  const shutdown = new AbortController();
  if (config.role !== 'api') checks.set('fetchWorker', async () => 'starting');
  checks.set('shutdown', async () => (shutdown.signal.aborted ? 'stopping' : 'ok'));

  const leases = createLeases(redis);
  const common = {
    clock,
    leases,
    uniqueId: randomUUID,
    checkEgress: egress.checkPop3,
    checkTokenEndpoint: egress.checkTokenEndpoint,
  };
  const fetches = createFetchService({ ...common, random: randomBytes, records, credentials, messages, queue });
  const { mailboxes, mailboxLedger: ledger, schedule } = parts;
  const http = createHttpApp(
    {
      fetches,
      mailboxes: createMailboxService({
        ...common,
        mailboxes,
        schedule,
        onStateChanged: (mailbox) => parts.announcer.changedState(mailbox, null),
      }),
      mailboxFetches: createMailboxFetches({ ...common, fetches, ledger, mailboxes }),
      schedule,
      verify: (tenant, request, signal) =>
        verifyMailbox({ ...common, resolve: egress.resolvePop3, logins: parts.logins }, tenant, request, signal),
      findSettings: (email, signal) =>
        findSettings(
          { createDns: createDnsResolver, resolveHttps: egress.resolveWebhook, checkPop3: egress.checkPop3 },
          email,
          signal,
        ),
      webhooks: {
        register: subscriptions.register,
        summarise: subscriptions.summarise,
        check: (url) => void egress.checkWebhookUrl(url),
      },
      events: createEventFeed({ log: parts.eventLog, news: createNews(parts.openBlocking()), clock }),
      consumers: createConsumerStore(redis),
      renderEvent: (event) => buildEnvelope(messages, event),
      testWebhook: (ref) =>
        sendTest(
          {
            clock,
            webhooks: parts.webhooks,
            buildPayload: (event) => buildPayload(messages, event),
            post: parts.sender.post,
          },
          ref,
        ),
      deliveries: createDeliveryService(redis, { clock, webhooks: parts.webhooks, due: parts.dueWebhooks }),
      subscriptions: createWebhookService({
        clock,
        random: randomBytes,
        webhooks: parts.webhooks,
        deliveries: parts.deliveries,
        due: parts.dueWebhooks,
        checkUrl: egress.checkWebhookUrl,
      }),
      messages,
      parser: {
        parse: async (source, signal) =>
          toPublicMessage(await mime.parse(addAbortSignal(signal, Readable.from(source)))),
      },
      sanitizer: mime,
      links,
      publicUrl: config.publicUrl ?? null,
      messageBytesMax: Math.min(config.messageBytesMax, messageBytesMaxOf(config.blobs)),
      retentionMs: config.retentionMs,
      shutdown: shutdown.signal,
      checkReadiness: () => runChecks(checks),
      access,
      isStorageAway: isRedisUnavailable,
      logger,
      clock,
    },
    config.role === 'worker' ? (path) => path.endsWith('z') : undefined,
  );
  const server = await startHttpServer(http, config.host, config.port);
  onDrain(() => {
    shutdown.abort(); // Readiness goes off, and who waits is answered.
    return server.close(config.shutdownMs);
  });
  return server.url;
}

/** Threads that cannot load would let every message fail after its time limit, one by one. */
async function checkParser(mime: MimePool): Promise<void> {
  const { subject } = await mime.parse(Buffer.from('Subject: ready\r\n\r\n'));
  if (subject !== 'ready') throw new AppError('internal_error', 'The parser threads do not work; see the log.');
}

async function runChecks(checks: Parts['checks']): Promise<Record<string, string>> {
  return Object.fromEntries(
    await Promise.all([...checks].map(async ([name, check]) => [name, await check()] as const)),
  );
}
