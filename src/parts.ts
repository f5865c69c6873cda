/** What the API and the workers share: connections, stores, threads. Built here, wired together in `app.ts`. */
import { randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { createSignedLinks, type SignedLinks } from './access/signed-links.ts';
import type { Config } from './config/config.ts';
import { keepOperatorKey, type MadeKey } from './config/keys.ts';
import { readMasterKeys, type MasterKeys } from './config/master-keys.ts';
import { parseEgressAllow } from './egress/allow-rule.ts';
import type { HttpsRoute } from './egress/connector.ts';
import { createEgressPolicy, type EgressPolicy } from './egress/policy.ts';
import { lookupsAtOnce } from './egress/resolver.ts';
import { createEgressProxy } from './egress/proxy.ts';
import { createAnnouncer, type Announcer } from './event/announcer.ts';
import { createEventLog, type EventLog } from './event/event-log.ts';
import { createFetchStore, type FetchStore } from './fetch/fetch-store.ts';
import { credentialsTtlMs } from './fetch/limits.ts';
import { createDueIndex, type DueIndex } from './fetch/due-index.ts';
import { parseHostLimits } from './fetch/host-limits.ts';
import { createHostSlots, type HostSlots } from './fetch/host-slots.ts';
import { createMailboxLedger, type MailboxLedger } from './fetch/mailbox-ledger.ts';
import { createMailboxSchedule, type MailboxSchedule } from './fetch/mailbox-schedule.ts';
import { createCredentialStore, type CredentialStore } from './mailbox/credentials.ts';
import { createLogins, type Logins } from './mailbox/oauth2/logins.ts';
import { createTokenStore } from './mailbox/oauth2/token-store.ts';
import { createFormPost } from './egress/form-post.ts';
import { createMailboxStore, type MailboxStore } from './mailbox/mailbox-store.ts';
import { createSealer, parseMasterKeys } from './mailbox/sealing.ts';
import { createBlobStore } from './message/blobs/blob-store-choice.ts';
import { createMessageStore, type MessageStore } from './message/message-store.ts';
import { createMimePool, type MimePool } from './mime/pool.ts';
import { mastersOf, pingMasters, type RedisClient } from './redis/client.ts';
import { connectRedis, openBlockingRedis, openRedis } from './redis/connection.ts';
import { readPlace, type RedisPlace } from './redis/place.ts';
import { startEmbeddedRedis } from './redis/embedded.ts';
import { findRedisServer } from './redis/server-binary.ts';
import { checkData, openData } from './redis/data-version.ts';
import { checkServer } from './redis/server-facts.ts';
import { observeBlobs } from './message/blobs/observed-blob-store.ts';
import { startTracing } from './telemetry/tracing.ts';
import type { Trace } from './trace.ts';
import { createLiveness, type Liveness } from './telemetry/liveness.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { measure } from './measures.ts';
import { announceToWebhooks } from './webhook/announce.ts';
import { createAwaited, type Awaited } from './webhook/awaited.ts';
import { createDeliveryStore, type DeliveryStore } from './webhook/delivery-store.ts';
import { createDueWebhooks, type DueWebhooks } from './webhook/due-webhooks.ts';
import { createFetchWebhooks, type FetchWebhooks } from './webhook/fetch-webhooks.ts';
import { createSender, type Sender } from './webhook/sender.ts';
import { createEndpoints, type Endpoints } from './webhook/webhook.ts';
import { createWebhookStore, type WebhookStore } from './webhook/webhook-store.ts';

export interface AppOptions {
  config: Config;
  logger: Logger;
  /** What child processes inherit, and where PATH is. */
  env: NodeJS.ProcessEnv;
  /** Tells a person at the terminal what takes its time. */
  onProgress(text: string): void;
}

/** What outbound HTTP is sent as. */
export const USER_AGENT = 'popbridge';
/** Each parser thread is a heap of its own. */
const parserThreadsMax = 4;

export type Closer = () => Promise<void> | void;

export interface Lifecycle {
  /** Called first, all at once: take no more work, and let what runs finish. */
  onDrain(drain: Closer): void;
  /** Called then, in reverse order. */
  onClose(closer: Closer): void;
}

/** What the API and the workers share. */
export interface Parts extends Lifecycle {
  config: Config;
  logger: Logger;
  clock: { now(): number; sleep(ms: number): Promise<void> };
  egress: EgressPolicy;
  https: HttpsRoute;
  redis: RedisClient;
  /** Another connection like it: WAITAOF blocks all that is sent behind it. */
  openStore(): Promise<RedisClient>;
  /** Another connection, one that waits for Redis to come back. */
  openBlocking(): RedisClient;
  records: FetchStore;
  hosts: HostSlots;
  credentials: CredentialStore;
  logins: Logins;
  mailboxes: MailboxStore;
  mailboxLedger: MailboxLedger;
  schedule: MailboxSchedule;
  due: DueIndex;
  messages: MessageStore;
  webhooks: WebhookStore;
  fetchWebhooks: FetchWebhooks;
  /** Both of these. */
  endpoints: Endpoints;
  deliveries: DeliveryStore;
  awaited: Awaited;
  dueWebhooks: DueWebhooks;
  eventLog: EventLog;
  announcer: Announcer;
  sender: Sender;
  mime: MimePool;
  links: SignedLinks;
  /** What readiness asks, by name: `ok`, or what is wrong. */
  checks: Map<string, () => Promise<string>>;
  liveness: Liveness;
  metrics: Metrics;
  trace: Trace;
}

export interface Keys {
  operator: Pick<MadeKey, 'value' | 'isNew' | 'path'>;
  master: MasterKeys;
}

export async function readKeys(config: Config): Promise<Keys> {
  const { operatorKey, dataDir } = config;
  return {
    operator:
      operatorKey === undefined ? await keepOperatorKey(dataDir) : { value: operatorKey, isNew: false, path: '' },
    master: await readMasterKeys(config),
  };
}

export async function buildParts(options: AppOptions, keys: Keys, lifecycle: Lifecycle): Promise<Parts> {
  const { onDrain, onClose } = lifecycle;
  const { config, logger } = options;
  const egress = createEgressPolicy({
    allow: parseEgressAllow(config.egressAllow),
    lookupsAtOnce: lookupsAtOnce(options.env),
  });
  const proxy = config.egressProxy === undefined ? null : createEgressProxy(config.egressProxy);
  onClose(() => proxy?.close());
  const https = { resolve: egress.resolveWebhook, proxy };
  const limitsOf = parseHostLimits(config.hostLimits.exceptions, config.hostLimits);
  const sealer = createSealer(keys.master.value, keys.master.place);
  if (keys.master.warning) logger.warn(keys.master.warning);
  const clock = { now: () => Date.now(), sleep: async (ms: number): Promise<void> => sleep(ms) };

  const place = await findRedis(options, onClose);
  const openStore = async (): Promise<RedisClient> => {
    const store = openRedis(place, logger);
    onClose(() => store.disconnect());
    await connectRedis(store, place);
    return store;
  };
  const redis = await openStore();
  for (const master of mastersOf(redis).values()) {
    await checkServer(master.redis, logger, { allowsVolatile: config.allowsVolatileRedis });
  }
  await openData(redis, logger);
  const openBlocking = (): RedisClient => {
    const blocking = openBlockingRedis(place, logger);
    onClose(() => blocking.disconnect());
    return blocking;
  };

  const answers = (): Promise<boolean> =>
    pingMasters(redis).then(
      () => true,
      () => false,
    );
  const liveness = createLiveness({ clock, storageAnswers: answers, silenceMsMax: config.silenceMsMax });
  onDrain(() => liveness.close());

  const { trace, close: closeTracing } = await startTracing({
    endpoint: config.traceEndpoint,
    ratio: config.traceRatio,
  });
  onClose(closeTracing);
  const { metrics, turn } = measure(redis, () => parts);
  onDrain(() => turn.end().catch(() => undefined));

  const webhooks = createWebhookStore(redis, sealer);
  const fetchWebhooks = createFetchWebhooks(redis, sealer);
  const deliveries = createDeliveryStore(redis);
  const awaited = createAwaited(redis);
  const dueWebhooks = createDueWebhooks(redis, Math.random);
  const eventLog = createEventLog(redis, config.eventLog);
  const announcer = createAnnouncer({
    log: eventLog,
    deliver: (event) => announceToWebhooks({ clock, webhooks, awaited, deliveries, due: dueWebhooks }, event),
    clock,
    trace,
  });
  const mime = createMimePool({
    threads: Math.min(availableParallelism(), parserThreadsMax),
    // An API may never be asked to parse or sanitise.
    isLazy: config.role === 'api',
    limits: config.parse,
    timeLimitMs: config.parse.timeLimitMs,
    onFailure: (error) => logger.warn({ err: error }, 'A message ended its parser thread'),
  });
  onClose(() => mime.close());
  const sender = createSender({ ...https, userAgent: USER_AGENT });
  onClose(() => sender.close());
  const forms = createFormPost({ ...https, userAgent: USER_AGENT });
  onClose(() => forms.close());
  const records = createFetchStore(redis);
  const mailboxLedger = createMailboxLedger(redis, records);
  const due = createDueIndex(redis);
  const parts: Parts = {
    config,
    logger,
    clock,
    egress,
    https,
    redis,
    openStore,
    openBlocking,
    records,
    hosts: createHostSlots(redis, { limitsOf, random: Math.random }),
    credentials: createCredentialStore(redis, sealer, credentialsTtlMs),
    logins: createLogins({
      clock,
      tokens: createTokenStore(redis, sealer),
      checkEndpoint: egress.checkTokenEndpoint,
      post: forms.post,
      uniqueId: randomUUID,
    }),
    mailboxes: createMailboxStore(redis, sealer),
    mailboxLedger,
    schedule: createMailboxSchedule({ due, clock }),
    due,
    messages: createMessageStore({
      redis,
      sealer,
      clock,
      blobs: observeBlobs(
        createBlobStore(config.blobs, { redis, dataDir: config.dataDir }),
        metrics.observeBlob,
        clock,
      ),
      quota: config.quota,
      onReleased: (message) => mailboxLedger.release(message, message.id),
    }),
    webhooks,
    fetchWebhooks,
    endpoints: createEndpoints(webhooks, fetchWebhooks),
    deliveries,
    awaited,
    dueWebhooks,
    eventLog,
    announcer,
    sender,
    mime,
    links: createSignedLinks(parseMasterKeys(keys.master.value, keys.master.place), clock),
    checks: new Map([
      ['redis', async () => ((await answers()) ? 'ok' : 'Redis does not answer')],
      ['data', async () => checkData(redis).catch(() => 'Redis does not answer')],
    ]),
    liveness,
    metrics,
    trace,
    ...lifecycle,
  };
  return parts;
}

/** Where the settings say, or in a data folder that no other popbridge has in use. */
export async function findRedis(options: AppOptions, onClose: Lifecycle['onClose']): Promise<RedisPlace> {
  const { config, logger, env, onProgress } = options;
  if (config.redis) return readPlace(config.redis);
  const { redisServer: configuredPath, dataDir } = config;
  const serverPath = await findRedisServer({ configuredPath, dataDir, env, onProgress });
  const embedded = await startEmbeddedRedis({ serverPath, dataDir, logger });
  onClose(() => embedded.close());
  return embedded.socketPath;
}
