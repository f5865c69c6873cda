/**
 * The composition root: builds every part, starts them in order, closes them in reverse. It holds the wiring and no rules.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { createAccess } from './access/access.ts';
import type { Config } from './config/config.ts';
import { keepMasterKeys, keepOperatorKey, type MadeKey } from './config/keys.ts';
import { parseEgressAllow } from './egress/allow-rule.ts';
import { createEgressPolicy } from './egress/policy.ts';
import { messageReceived } from './event/event.ts';
import { buildPayload } from './event/payload.ts';
import { AppError } from './errors.ts';
import { createFetchStore } from './fetch/fetch-store.ts';
import { createLeases } from './fetch/lease.ts';
import { credentialsTtlMs } from './fetch/limits.ts';
import { createFetchQueue } from './fetch/queue.ts';
import { abandonFetch, runFetch, type FetchPorts } from './fetch/run.ts';
import { createFetchService } from './fetch/service.ts';
import { createFetchWorker } from './fetch/worker.ts';
import { createHttpApp } from './http/app.ts';
import { startHttpServer } from './http/server.ts';
import { createCredentialStore } from './mailbox/credentials.ts';
import { createSealer } from './mailbox/sealing.ts';
import { createFileBlobStore } from './message/file-blob-store.ts';
import { createMessageStore } from './message/message-store.ts';
import { createSweeper } from './message/sweeper.ts';
import { createMimePool, type MimePool } from './mime/pool.ts';
import { connectRedis, isRedisUnavailable, openBlockingRedis, openRedis } from './redis/connection.ts';
import { createDurability } from './redis/durability.ts';
import { startEmbeddedRedis } from './redis/embedded.ts';
import { findRedisServer } from './redis/server-binary.ts';
import { checkServer } from './redis/server-facts.ts';
import { attemptDelivery } from './webhook/delivery.ts';
import { createWebhookQueue } from './webhook/queue.ts';
import { createSender } from './webhook/sender.ts';
import { createSubscriptionStore } from './webhook/subscription-store.ts';
import { createWebhookWorker } from './webhook/worker.ts';

export interface App {
  /** Where the API, or a worker's health, listens. */
  url: string;
  /** Keys that this start has made. */
  madeKeys: { operator?: MadeKey };
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
  const closers: (() => Promise<void> | void)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).toReversed()) await close();
  };
  try {
    const started = await start(options, (closer) => closers.push(closer));
    return { ...started, close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function start(
  { config, logger, env, onProgress }: AppOptions,
  onClose: (close: () => Promise<void> | void) => void,
): Promise<Omit<App, 'close'>> {
  const clock = { now: () => Date.now(), sleep: async (ms: number) => sleep(ms) };
  const egress = createEgressPolicy({ allow: parseEgressAllow(config.egressAllow) });
  const operator = config.operatorKey === undefined ? await keepOperatorKey(config.dataDir) : undefined;
  const sealer = createSealer(config.masterKeys ?? (await keepMasterKeys(config.dataDir)).value);
  const access = createAccess(config.operatorKey ?? operator?.value ?? '');

  const address = config.redisUrl ?? (await startEmbedded());
  const redis = openRedis(address, logger);
  onClose(() => redis.disconnect());
  await connectRedis(redis, config.redisUrl ? new URL(config.redisUrl).host : address);
  await checkServer(redis, logger);
  const blockingRedis = (): Redis => {
    const blocking = openBlockingRedis(address, logger);
    onClose(() => blocking.disconnect());
    return blocking;
  };

  const messages = createMessageStore(redis, createFileBlobStore(join(config.dataDir, 'blobs')), config.retentionMs);
  const records = createFetchStore(redis, config.retentionMs);
  const credentials = createCredentialStore(redis, sealer, credentialsTtlMs);
  const subscriptions = createSubscriptionStore(redis, sealer);
  const webhookQueue = createWebhookQueue(redis, subscriptions, logger);
  onClose(() => webhookQueue.close());

  const shutdown = new AbortController();
  const checks: Record<string, () => Promise<string>> = {
    redis: async () => ((await redis.ping().catch(() => '')) === 'PONG' ? 'ok' : 'Redis does not answer'),
    shutdown: async () => (shutdown.signal.aborted ? 'stopping' : 'ok'),
  };

  if (config.role !== 'api') await startWorkers();
  const server = await startHttpServer(createApi(), config.host, config.port);
  onClose(() => server.close(config.shutdownMs));
  // Closed first: readiness goes off and who waits is answered before anything is taken away.
  onClose(() => shutdown.abort());
  return { url: server.url, madeKeys: operator?.isNew ? { operator } : {} };

  async function startEmbedded(): Promise<string> {
    const { redisServer: configuredPath, dataDir } = config;
    const serverPath = await findRedisServer({ configuredPath, dataDir, env, onProgress });
    const embedded = await startEmbeddedRedis({ serverPath, dataDir, logger });
    onClose(() => embedded.close());
    return embedded.socketPath;
  }

  async function startWorkers(): Promise<void> {
    const mime = createMimePool({
      threads: Math.min(availableParallelism(), parserThreadsMax),
      onFailure: (error) => logger.warn({ err: error }, 'A message ended its parser thread'),
    });
    onClose(() => mime.close());
    await checkParser(mime);
    const sender = createSender({ resolve: egress.resolveWebhook, userAgent: USER_AGENT });
    onClose(() => sender.close());
    const sweeper = createSweeper({ sweep: () => messages.sweep(clock.now()), logger });
    onClose(() => sweeper.close());

    const fetchPorts: FetchPorts = {
      clock,
      resolve: egress.resolvePop3,
      records,
      leases: createLeases(redis),
      credentials,
      messages,
      parse: async (raw) => mime.parse(await buffer(await raw.open())),
      durability: createDurability(redis, clock),
      announce: (event) => webhookQueue.announce(messageReceived(event)),
      isStorageAway: isRedisUnavailable,
      logger,
      uniqueId: randomUUID,
    };
    const fetchWorker = createFetchWorker({
      blocking: blockingRedis(),
      concurrency: config.fetchConcurrency,
      run: (ref, stop) => runFetch(fetchPorts, ref, stop),
      abandon: (ref) => abandonFetch(fetchPorts, ref),
      clock,
      logger,
    });
    onClose(() => fetchWorker.close(config.shutdownMs * 0.8));
    const webhookWorker = createWebhookWorker({
      blocking: blockingRedis(),
      concurrency: config.webhookConcurrency,
      attempt: (event, attempt) =>
        attemptDelivery(
          {
            clock,
            random: Math.random,
            subscriptions,
            buildPayload: (ref) => buildPayload(messages, ref),
            post: sender.post,
          },
          event,
          attempt,
        ),
      clock,
      logger,
    });
    onClose(() => webhookWorker.close());
    checks['fetchWorker'] = async () => (fetchWorker.isRunning() ? 'ok' : 'not running');
    checks['webhookWorker'] = async () => (webhookWorker.isRunning() ? 'ok' : 'not running');
  }

  function createApi() {
    const queue = createFetchQueue(redis, blockingRedis(), logger);
    onClose(() => queue.close());
    const fetches = createFetchService({
      clock,
      random: randomBytes,
      records,
      credentials,
      messages,
      queue,
      checkEgress: egress.checkPop3,
    });
    return createHttpApp(
      {
        fetches,
        webhooks: {
          register: subscriptions.register,
          summarise: subscriptions.summarise,
          check: (url) => void egress.checkWebhookUrl(url),
        },
        messages,
        messageBytesMax: config.messageBytesMax,
        shutdown: shutdown.signal,
        checkReadiness: () => runChecks(checks),
        access,
        isStorageAway: isRedisUnavailable,
        logger,
        clock,
      },
      // A worker answers for its health and nothing else.
      config.role === 'worker' ? (path) => path.endsWith('z') : undefined,
    );
  }
}

/** Threads that cannot load would let every message fail after its time limit, one by one. */
async function checkParser(mime: MimePool): Promise<void> {
  const { subject } = await mime.parse(Buffer.from('Subject: ready\r\n\r\n'));
  if (subject !== 'ready') throw new AppError('internal_error', 'The parser threads do not work; see the log.');
}

async function runChecks(checks: Record<string, () => Promise<string>>): Promise<Record<string, string>> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => [name, await check()] as const),
  );
  return Object.fromEntries(results);
}
