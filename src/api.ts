/** What answers HTTP. Wiring of the composition root, without rules. */
import { randomBytes, randomUUID } from 'node:crypto';
import { addAbortSignal, Readable } from 'node:stream';
import { type Access } from './access/access.ts';
import { findSettings } from './autoconfig/find-settings.ts';
import { createDnsResolver } from './autoconfig/sources.ts';
import { createConsumerStore } from './event/consumer-store.ts';
import { createEventFeed } from './event/feed.ts';
import { createNews } from './event/news.ts';
import { buildEnvelope, buildPayload, tellWhole } from './event/payload.ts';
import { createLeases } from './fetch/lease.ts';
import { createFetchQueue } from './fetch/queue.ts';
import { createFetchService } from './fetch/service.ts';
import { createMailboxFetches } from './fetch/mailbox-fetches.ts';
import { verifyMailbox } from './fetch/verification.ts';
import { createHttpApp } from './http/app.ts';
import { startHttpServer } from './http/server.ts';
import { createMailboxService } from './mailbox/service.ts';
import { messageBytesMaxOf } from './message/blobs/blob-store-choice.ts';
import { toPublicMessage } from './mime/public-message.ts';
import { isRedisUnavailable } from './redis/connection.ts';
import { createDeliveryService } from './webhook/delivery-service.ts';
import { sendTest } from './webhook/trial.ts';
import { createWebhookService } from './webhook/webhook-service.ts';
import { type Parts } from './parts.ts';

/** Resolves with where it listens. A worker answers for its health there, and for nothing else. */
export async function startApi(parts: Parts, access: Access, isStarted: () => boolean): Promise<string> {
  const {
    config,
    logger,
    clock,
    egress,
    redis,
    records,
    credentials,
    messages,
    fetchWebhooks,
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
    trace: parts.trace,
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
        beforeDelete: ({ tenant, mailbox }) => parts.eventLog.letGo(tenant, mailbox),
      }),
      mailboxFetches: createMailboxFetches({ ...common, fetches, ledger, mailboxes }),
      schedule,
      verify: (tenant, request, signal) =>
        verifyMailbox({ ...common, resolve: egress.resolvePop3, logins: parts.logins }, tenant, request, signal),
      findSettings: (email, signal) =>
        findSettings({ createDns: createDnsResolver, https: parts.https, checkPop3: egress.checkPop3 }, email, signal),
      webhooks: {
        register: fetchWebhooks.register,
        summarise: fetchWebhooks.summarise,
        check: (url) => void egress.checkWebhookUrl(url),
      },
      events: createEventFeed({ log: parts.eventLog, news: createNews(parts.openBlocking()), clock }),
      consumers: createConsumerStore(redis),
      renderEvent: (event) => buildEnvelope(tellWhole(messages), event),
      countMissed: parts.deliveries.countMissed,
      testWebhook: (ref) =>
        sendTest(
          {
            clock,
            webhooks: parts.webhooks,
            buildPayload: (event) => buildPayload(tellWhole(messages), event),
            post: parts.sender.post,
          },
          ref,
        ),
      deliveries: createDeliveryService(redis, {
        clock,
        webhooks: parts.endpoints,
        deliveries: parts.deliveries,
        due: parts.dueWebhooks,
      }),
      endpoints: parts.endpoints,
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
      checkLiveness: parts.liveness.check,
      isStarted,
      trace: parts.trace,
      observeRequest: parts.metrics.observeRequest,
      access,
      isStorageAway: isRedisUnavailable,
      logger,
      clock,
    },
    config.role === 'worker' ? (path) => path.endsWith('z') : undefined,
  );
  const server = await startHttpServer(http, config.host, config.port);
  onDrain(() => shutdown.abort()); // Readiness goes off, and who waits is answered.
  // A worker tells of its health until it has drained.
  const isLast = config.role === 'worker';
  (isLast ? onClose : onDrain)(() => server.close(config.shutdownMs));
  return server.url;
}

async function runChecks(checks: Parts['checks']): Promise<Record<string, string>> {
  return Object.fromEntries(
    await Promise.all([...checks].map(async ([name, check]) => [name, await check()] as const)),
  );
}
