/**
 * The HTTP API as a Hono app: request ids, access log, errors as problem+json, routes from the contract.
 *
 * It translates between HTTP and the domain folders and decides nothing of its own.
 */
import { Hono } from 'hono';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Access } from '../access/access.ts';
import type { SignedLinks } from '../access/signed-links.ts';
import { AppError } from '../errors.ts';
import { autoconfigHandlers, type AutoconfigHandlerPorts } from './autoconfig.ts';
import type { NewMailbox } from '../mailbox/service.ts';
import type { components } from '../contract.gen.ts';
import { compileOperations, compileSchema, readContract } from './contract.ts';
import { eventConsumerHandlers, type EventConsumerPorts } from './event-consumers.ts';
import { eventHandlers } from './events.ts';
import { fetchStreamHandlers } from './fetch-stream.ts';
import { fetchHandlers, type FetchPorts } from './fetches.ts';
import { mailboxHandlers, toNewMailbox, type MailboxPorts } from './mailboxes.ts';
import { mailboxImportHandlers } from './mailbox-import.ts';
import { sanitizesAtOnceMax } from './limits.ts';
import { messageLinkHandlers, type MessageLinkPorts } from './message-links.ts';
import { messageListHandlers, type MessageListPorts } from './message-list.ts';
import { messageHandlers, type MessagePorts } from './messages.ts';
import { parseHandlers, type ParsePorts } from './parse.ts';
import { toProblem } from './problem.ts';
import { createRoom } from './room.ts';
import type { Trace } from '../trace.ts';
import { bindRoutes, type RequestFacts } from './route.ts';
import { verificationHandlers, type VerificationHandlerPorts } from './verification.ts';
import { deliveryHandlers, type DeliveryPorts } from './deliveries.ts';
import { webhookHandlers, type WebhookPorts } from './webhooks.ts';
import { serviceHandlers, type ServicePorts } from './service.ts';

export interface HttpPorts
  extends
    FetchPorts,
    MailboxPorts,
    VerificationHandlerPorts,
    AutoconfigHandlerPorts,
    EventConsumerPorts,
    Omit<MessageLinkPorts, 'links'>,
    ParsePorts,
    WebhookPorts,
    DeliveryPorts,
    Omit<ServicePorts, 'document'> {
  webhooks: FetchPorts['webhooks'];
  subscriptions: WebhookPorts['subscriptions'];
  fetches: FetchPorts['fetches'];
  messages: FetchPorts['messages'] &
    MessagePorts['messages'] &
    MessageListPorts['messages'] &
    MessageLinkPorts['messages'];
  access: Access;
  links: SignedLinks;
  /** True for errors that say that Redis is away. */
  isStorageAway(error: unknown): boolean;
  /** @param request with the path as the contract has it: what callers write is not counted by. */
  observeRequest?(request: { method: string; route: string; status: number; ms: number }): void;
  trace?: Trace;
  logger: Logger;
  clock: { now(): number };
}

/** The route of requests for paths that there are not. */
const NO_ROUTE = 'none';

/** Asked every few seconds, by machines. */
const PROBES = new Set(['/livez', '/readyz', '/startupz']);

/** @param only the paths that are served; all of the contract's unless given. */
export function createHttpApp(ports: HttpPorts, only?: (path: string) => boolean): Hono {
  const { logger, clock } = ports;
  const document = readContract();
  const operations = compileOperations(document).filter(({ path }) => only?.(path) ?? true);
  const checkMailbox = compileSchema(document, 'MailboxRequest');
  const readMailbox = (value: unknown): NewMailbox => {
    checkMailbox(value);
    return toNewMailbox(value as components['schemas']['MailboxRequest'], ports);
  };
  const inRoom = createRoom(sanitizesAtOnceMax, 'messages', 'sanitised');
  // Its threads may be those that fetches are waiting for.
  const sanitizer: HttpPorts['sanitizer'] = { sanitize: (html) => inRoom(() => ports.sanitizer.sanitize(html)) };
  const app = new Hono<RequestFacts>();

  app.use(async (context, next) => {
    const fromMs = clock.now();
    const requestId = randomUUID();
    context.set('requestId', requestId);
    await next();
    context.header('x-request-id', requestId);
    context.header('cache-control', 'no-store');
    // An address may have a token in it.
    context.header('referrer-policy', 'no-referrer');
    const { method, path } = context.req;
    // Hono answers HEAD as GET and drops the body: a file behind it would stay open.
    if (method === 'HEAD') await context.res.body?.cancel();
    const level = PROBES.has(path) ? 'debug' : 'info';
    const { status } = context.res;
    const ms = clock.now() - fromMs;
    ports.observeRequest?.({ method, route: context.get('route') ?? NO_ROUTE, status, ms });
    // Of whom, and what was made of it: where one leads to the other.
    const { tenant } = context.var;
    const location = context.res.headers.get('location') ?? undefined;
    logger[level]({ requestId, tenant, method, path, status, location, ms }, 'Request');
  });
  const refuse = (error: Error, requestId: string): Response => {
    const response = toProblem(error, requestId, ports.isStorageAway);
    if (response.status === 500) logger.error({ err: error, requestId }, 'Request failed');
    else if (response.status > 500 && !isBusy(error))
      logger.warn({ err: error, requestId }, 'Request failed for want of storage');
    else logger.debug({ err: error, requestId }, 'Request refused');
    return response;
  };
  app.onError((error, context) => refuse(error, context.get('requestId')));
  app.notFound((context) => {
    const error = new AppError('not_found', 'There is nothing at this path. GET /openapi.json lists what there is.');
    // What is thrown here would pass by the middleware above.
    return refuse(error, context.get('requestId'));
  });
  bindRoutes(
    app,
    operations,
    {
      ...fetchHandlers(ports),
      ...fetchStreamHandlers(ports),
      ...eventHandlers(ports),
      ...eventConsumerHandlers(ports),
      ...mailboxHandlers(ports),
      ...mailboxImportHandlers({ mailboxes: ports.mailboxes, readMailbox }),
      ...verificationHandlers(ports),
      ...autoconfigHandlers(ports),
      ...messageHandlers({ ...ports, sanitizer }),
      ...messageListHandlers(ports),
      ...messageLinkHandlers(ports),
      ...webhookHandlers(ports),
      ...deliveryHandlers(ports),
      ...parseHandlers({ ...ports, sanitizer }),
      ...serviceHandlers({ ...ports, document }),
    },
    { authenticate: ports.access.authenticate, openLink: ports.links.open },
    ports.trace,
  );
  return app as unknown as Hono;
}

/** A 503 that is no trouble: too much at once, or a caller who went away. */
function isBusy(error: Error): boolean {
  return error instanceof AppError && (error.code === 'busy' || error.code === 'cancelled');
}
