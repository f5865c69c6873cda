/**
 * The composition root: builds every part, starts them in order, closes them in reverse. It holds the wiring and no rules.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { addAbortSignal, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { createAccess, type Access } from './access/access.ts';
import { createSignedLinks, type SignedLinks } from './access/signed-links.ts';
import type { Config } from './config/config.ts';
import { keepMasterKeys, keepOperatorKey, type MadeKey } from './config/keys.ts';
import { parseEgressAllow } from './egress/allow-rule.ts';
import { createEgressPolicy, type EgressPolicy } from './egress/policy.ts';
import { messageReceived } from './event/event.ts';
import { buildPayload } from './event/payload.ts';
import { AppError } from './errors.ts';
import { createFetchStore, type FetchStore } from './fetch/fetch-store.ts';
import type { FetchRef } from './fetch/fetch.ts';
import { createLeases } from './fetch/lease.ts';
import { credentialsTtlMs } from './fetch/limits.ts';
import { createPipeliningMemory } from './fetch/pipelining-memory.ts';
import { createFetchQueue, FETCH_QUEUE } from './fetch/queue.ts';
import { abandonFetch, runFetch, type FetchPorts } from './fetch/run.ts';
import { createFetchService } from './fetch/service.ts';
import { createFetchWorker } from './fetch/worker.ts';
import { createHttpApp } from './http/app.ts';
import { startHttpServer } from './http/server.ts';
import { createCredentialStore, type CredentialStore } from './mailbox/credentials.ts';
import { createSealer, parseMasterKeys } from './mailbox/sealing.ts';
import { createBlobStore, messageBytesMaxOf } from './message/blobs/blob-store-choice.ts';
import { createMessageStore, type MessageStore } from './message/message-store.ts';
import { createSweeper } from './message/sweeper.ts';
import { toPublicMessage } from './mime/public-message.ts';
import { createMimePool, type MimePool } from './mime/pool.ts';
import { connectRedis, isRedisUnavailable, openBlockingRedis, openRedis } from './redis/connection.ts';
import { createDurability } from './redis/durability.ts';
import { startEmbeddedRedis } from './redis/embedded.ts';
import { findRedisServer } from './redis/server-binary.ts';
import { checkServer } from './redis/server-facts.ts';
import { abandonDelivery, attemptDelivery, type DeliveryPorts } from './webhook/delivery.ts';
import { createWebhookQueue, type WebhookQueue } from './webhook/queue.ts';
import { createSender } from './webhook/sender.ts';
import { createSubscriptionStore, type SubscriptionStore } from './webhook/subscription-store.ts';
import { createWebhookWorker } from './webhook/worker.ts';

export interface App {
  /** Where the API, or a worker's health, listens. */
  url: string;
  /** The operator key, where this start has made it. */
  madeKey: Pick<MadeKey, 'value' | 'path'> | null;
  /** Drains: no new work, `config.shutdownMs` for what runs. Safe to call twice. */
  close(): Promise<void>;
}

export interface AppOptions {
  config: Config;
  logger: Logger;
  /** What child processes inherit, and where PATH is. */
  env: NodeJS.ProcessEnv;
  /** Tells a person at the terminal what takes its time. */
  onProgress(text: string): void;
}

const USER_AGENT = 'popbridge';
/** Each parser thread is a heap of its own. */
const parserThreadsMax = 4;

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
    return { url, madeKey: keys.operator.isNew ? keys.operator : null, close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Closer = () => Promise<void> | void;

interface Lifecycle {
  /** Called first, all at once: take no more work, and let what runs finish. */
  onDrain(drain: Closer): void;
  /** Called then, in reverse order. */
  onClose(closer: Closer): void;
}

/** What the API and the workers share. */
interface Parts extends Lifecycle {
  config: Config;
  logger: Logger;
  clock: { now(): number; sleep(ms: number): Promise<void> };
  egress: EgressPolicy;
  redis: Redis;
  /** Another connection like it: WAITAOF blocks all that is sent behind it. */
  openStore(): Promise<Redis>;
  /** Another connection, one that waits for Redis to come back. */
  openBlocking(): Redis;
  records: FetchStore;
  credentials: CredentialStore;
  messages: MessageStore;
  subscriptions: SubscriptionStore;
  webhookQueue: WebhookQueue;
  mime: MimePool;
  links: SignedLinks;
  /** What readiness asks, by name: `ok`, or what is wrong. */
  checks: Map<string, () => Promise<string>>;
}

interface Keys {
  operator: Pick<MadeKey, 'value' | 'isNew' | 'path'>;
  master: string;
}

async function readKeys({ operatorKey, masterKeys, dataDir }: Config): Promise<Keys> {
  return {
    operator:
      operatorKey === undefined ? await keepOperatorKey(dataDir) : { value: operatorKey, isNew: false, path: '' },
    master: masterKeys ?? (await keepMasterKeys(dataDir)).value,
  };
}

async function buildParts(options: AppOptions, keys: Keys, lifecycle: Lifecycle): Promise<Parts> {
  const { onClose } = lifecycle;
  const { config, logger } = options;
  const egress = createEgressPolicy({ allow: parseEgressAllow(config.egressAllow) });
  const sealer = createSealer(keys.master);
  const clock = { now: () => Date.now(), sleep: async (ms: number): Promise<void> => sleep(ms) };

  const address = config.redisUrl ?? (await startEmbedded(options, onClose));
  const openStore = async (): Promise<Redis> => {
    const store = openRedis(address, logger);
    onClose(() => store.disconnect());
    await connectRedis(store, config.redisUrl ? new URL(config.redisUrl).host : address);
    return store;
  };
  const redis = await openStore();
  await checkServer(redis, logger);
  const openBlocking = (): Redis => {
    const blocking = openBlockingRedis(address, logger);
    onClose(() => blocking.disconnect());
    return blocking;
  };

  const subscriptions = createSubscriptionStore(redis, sealer);
  const webhookQueue = createWebhookQueue(redis, subscriptions, logger);
  onClose(() => webhookQueue.close());
  const mime = createMimePool({
    threads: Math.min(availableParallelism(), parserThreadsMax),
    // An API may never be asked to parse or sanitise.
    isLazy: config.role === 'api',
    limits: config.parse,
    timeLimitMs: config.parse.timeLimitMs,
    onFailure: (error) => logger.warn({ err: error }, 'A message ended its parser thread'),
  });
  onClose(() => mime.close());
  return {
    config,
    logger,
    clock,
    egress,
    redis,
    openStore,
    openBlocking,
    records: createFetchStore(redis),
    credentials: createCredentialStore(redis, sealer, credentialsTtlMs),
    messages: createMessageStore({
      redis,
      sealer,
      clock,
      blobs: createBlobStore(config.blobs, { redis, dataDir: config.dataDir }),
      quota: config.quota,
    }),
    subscriptions,
    webhookQueue,
    mime,
    links: createSignedLinks(parseMasterKeys(keys.master), clock),
    checks: new Map([
      ['redis', async () => ((await redis.ping().catch(() => '')) === 'PONG' ? 'ok' : 'Redis does not answer')],
    ]),
    ...lifecycle,
  };
}

async function startEmbedded({ config, logger, env, onProgress }: AppOptions, onClose: Lifecycle['onClose']) {
  const { redisServer: configuredPath, dataDir } = config;
  const serverPath = await findRedisServer({ configuredPath, dataDir, env, onProgress });
  const embedded = await startEmbeddedRedis({ serverPath, dataDir, logger });
  onClose(() => embedded.close());
  return embedded.socketPath;
}

async function startWorkers(parts: Parts): Promise<void> {
  const {
    config,
    logger,
    clock,
    egress,
    redis,
    messages,
    subscriptions,
    webhookQueue,
    mime,
    checks,
    onDrain,
    onClose,
  } = parts;
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
    credentials: parts.credentials,
    messages,
    parse: mime.parse,
    durability: createDurability(await parts.openStore(), clock),
    announce: (event) => webhookQueue.announce(messageReceived(event)),
    isStorageAway: isRedisUnavailable,
    logger,
    uniqueId: randomUUID,
  };
  const fetchWorker = createFetchWorker<FetchRef>({
    queues: [FETCH_QUEUE],
    blocking: parts.openBlocking(),
    concurrency: config.fetchConcurrency,
    run: (ref, shutdown) => runFetch(fetchPorts, ref, shutdown),
    abandon: (ref) => abandonFetch(fetchPorts, ref),
    clock,
    logger,
  });
  onDrain(() => fetchWorker.close(config.shutdownMs));

  const sender = createSender({ resolve: egress.resolveWebhook, userAgent: USER_AGENT });
  onClose(() => sender.close());
  const deliveryPorts: DeliveryPorts = {
    clock,
    random: Math.random,
    subscriptions,
    buildPayload: (event) => buildPayload(messages, event),
    post: sender.post,
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

  checks.set('fetchWorker', async () => (fetchWorker.isRunning() ? 'ok' : 'not running'));
  checks.set('webhookWorker', async () => (webhookWorker.isRunning() ? 'ok' : 'not running'));
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
  const queue = createFetchQueue(redis, parts.openBlocking(), logger);
  onClose(() => queue.close());
  const shutdown = new AbortController();
  if (config.role !== 'api') checks.set('fetchWorker', async () => 'starting');
  checks.set('shutdown', async () => (shutdown.signal.aborted ? 'stopping' : 'ok'));

  const http = createHttpApp(
    {
      fetches: createFetchService({
        clock,
        random: randomBytes,
        records,
        credentials,
        messages,
        leases: createLeases(redis),
        uniqueId: randomUUID,
        queue,
        checkEgress: egress.checkPop3,
      }),
      webhooks: {
        register: subscriptions.register,
        summarise: subscriptions.summarise,
        check: (url) => void egress.checkWebhookUrl(url),
      },
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
