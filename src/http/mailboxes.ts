/** `/v1/mailboxes`: what the contract says of it, in terms of the mailbox and fetch domains. */
import type { components } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { FetchService } from '../fetch/service.ts';
import type { MailboxFetches } from '../fetch/mailbox-fetches.ts';
import type { Mailbox, MailboxSettings, MailboxSource } from '../mailbox/mailbox.ts';
import { describeWarning } from '../mailbox/warning.ts';
import type { Credentials } from '../mailbox/credentials.ts';
import { toOAuth2Credentials } from '../mailbox/oauth2/grant.ts';
import type { MailboxChange, MailboxService, NewMailbox } from '../mailbox/service.ts';
import { readKnown } from './ledger.ts';
import { readWait, renderFetch, replyWithFetch, type FetchReplyPorts } from './fetch-reply.ts';
import type { Call, Handlers } from './route.ts';

type MailboxBody = components['schemas']['Mailbox'];
type SourceRequest = components['schemas']['SourceRequest'];

export interface MailboxPorts extends FetchReplyPorts {
  mailboxes: MailboxService;
  fetches: FetchService;
  mailboxFetches: MailboxFetches;
  schedule: {
    /** Epoch milliseconds; null where nothing but a request makes it be fetched. */
    nextDue(mailbox: { tenant: string; mailbox: string }): Promise<number | null>;
  };
  /** The largest message that the service retrieves, in bytes. */
  messageBytesMax: number;
  /** How long messages are kept where the request does not say, in milliseconds. */
  retentionMs: number;
}

type CallOfOne = Pick<Call<'getMailbox'>, 'principal' | 'path'>;

const DAY_MS = 24 * 60 * 60 * 1000;

type MailboxHandlers = Pick<
  Handlers,
  | 'createMailbox'
  | 'listMailboxes'
  | 'getMailbox'
  | 'updateMailbox'
  | 'deleteMailbox'
  | 'fetchMailbox'
  | 'listLedger'
  | 'resetMailbox'
>;

export function mailboxHandlers(ports: MailboxPorts): MailboxHandlers {
  const { mailboxes, mailboxFetches } = ports;

  const render = async (mailbox: Mailbox): Promise<MailboxBody> =>
    toBody(mailbox, await ports.schedule.nextDue(mailbox), await mailboxes.listSharing(mailbox));
  const refOf = ({ principal, path }: CallOfOne) => ({ tenant: principal.tenant, mailbox: path.mailboxId });
  const findOne = async (call: CallOfOne): Promise<Mailbox> => {
    const mailbox = await mailboxes.find(refOf(call));
    if (!mailbox) throw noMailbox(call.path.mailboxId);
    return mailbox;
  };
  const limitsOf = (limits: MailboxLimits): MailboxSettings['limits'] => boundLimits(limits, ports);

  return {
    async createMailbox({ body, principal }) {
      const mailbox = await mailboxes.create(principal.tenant, toNewMailbox(body, ports));
      return {
        status: 201,
        headers: { location: `/v1/mailboxes/${mailbox.mailbox}` },
        body: await render(mailbox),
      };
    },

    async listMailboxes({ principal, query }) {
      const { limit = 25, cursor = null } = query;
      const { items, next } = await mailboxes.list(principal.tenant, cursor, limit);
      return { status: 200, body: { items: await Promise.all(items.map(render)), nextCursor: next } };
    },

    async getMailbox(call) {
      return { status: 200, body: await render(await findOne(call)) };
    },

    async updateMailbox(call) {
      const changed = await mailboxes.change(refOf(call), toChange(call.body, limitsOf));
      if (!changed) throw noMailbox(call.path.mailboxId);
      return { status: 200, body: await render(changed) };
    },

    async deleteMailbox(call) {
      if (!(await mailboxes.delete(refOf(call)))) throw noMailbox(call.path.mailboxId);
      return new Response(null, { status: 204 });
    },

    async fetchMailbox(call) {
      const seconds = readWait(call.header['prefer']);
      const created = await mailboxFetches.fetch(await findOne(call));
      return replyWithFetch(ports, created, seconds, call.signal);
    },

    async listLedger(call) {
      const mailbox = await findOne(call);
      return { status: 200, body: await readKnown(mailboxFetches, mailbox, call.query) };
    },

    async resetMailbox(call) {
      const mailbox = await findOne(call);
      await mailboxFetches.forget(mailbox);
      if (call.body.mode === 'forget') return new Response(null, { status: 204 });
      const fetch = await mailboxFetches.fetch({
        ...mailbox,
        settings: { ...mailbox.settings, firstFetch: 'new_only' },
      });
      return { status: 202, headers: { location: `/v1/fetches/${fetch.id}` }, body: await renderFetch(ports, fetch) };
    },
  };
}

type MailboxLimits = components['schemas']['FetchLimits'];
type ServiceBounds = Pick<MailboxPorts, 'messageBytesMax' | 'retentionMs'>;

/** What the contract's `MailboxRequest` says, its defaults filled in. */
export function toNewMailbox(body: components['schemas']['MailboxRequest'], bounds: ServiceBounds): NewMailbox {
  return {
    alias: body.alias ?? null,
    credentials: readCredentials(body.source),
    settings: {
      name: body.name,
      source: toSource(body.source),
      schedule: body.schedule,
      isPaused: body.paused,
      firstFetch: body.firstFetch,
      delete: body.delete,
      isDryRun: body.dryRun,
      limits: boundLimits(body.limits, bounds),
      filter: body.filter ?? undefined,
      retentionMs: body.retentionDays === undefined ? bounds.retentionMs : body.retentionDays * DAY_MS,
    },
  };
}

function boundLimits(limits: MailboxLimits, { messageBytesMax }: ServiceBounds): MailboxSettings['limits'] {
  return { ...limits, messageBytes: Math.min(limits.messageBytes ?? messageBytesMax, messageBytesMax) };
}

/** The contract has seen to it that there is one of them. */
export function readCredentials({
  password = '',
  oauth2,
}: {
  password?: string | undefined;
  oauth2?: SourceRequest['oauth2'] | undefined;
}): Credentials {
  return oauth2 ? toOAuth2Credentials(oauth2) : { type: 'password', password };
}

/** The port that goes with the TLS mode where none is given. */
export function toSource(source: SourceRequest): MailboxSettings['source'] {
  const { host, tls, username, ca = null } = source;
  return { host, port: source.port ?? (tls === 'implicit' ? 995 : 110), tls, username, ca };
}

function toChange(
  body: components['schemas']['MailboxChange'],
  limitsOf: (limits: MailboxLimits) => MailboxSettings['limits'],
): MailboxChange {
  const { source, name, schedule, paused, dryRun, limits, filter, retentionDays } = body;
  const { password, oauth2, ...place } = source ?? {};
  return {
    credentials: password === undefined && oauth2 === undefined ? null : readCredentials({ password, oauth2 }),
    settings: {
      ...(Object.keys(place).length > 0 && { source: place as Partial<MailboxSource> }),
      ...(name !== undefined && { name }),
      ...(schedule !== undefined && { schedule }),
      ...(paused !== undefined && { isPaused: paused }),
      ...(body.delete !== undefined && { delete: body.delete }),
      ...(dryRun !== undefined && { isDryRun: dryRun }),
      ...(limits !== undefined && { limits: limitsOf(limits) }),
      ...(filter !== undefined && { filter: filter ?? undefined }),
      ...(retentionDays !== undefined && { retentionMs: retentionDays * DAY_MS }),
    },
  };
}

function toBody(
  { mailbox, settings, status, ...times }: Mailbox,
  nextMs: number | null,
  sharedWith: string[],
): MailboxBody {
  const { name, source, oauth2, schedule, isPaused, firstFetch, limits, filter, isDryRun, retentionMs } = settings;
  const { ca: _ca, ...place } = source;
  const { failure, failures, lastFetch, lastSuccessAt, warnings = [] } = status;
  return {
    id: mailbox,
    name,
    source: place,
    auth: oauth2
      ? { type: 'oauth2', ...oauth2 }
      : { type: 'password', grant: null, endpoint: null, clientId: null, expiresAt: null },
    schedule,
    paused: isPaused,
    firstFetch,
    delete: settings.delete,
    dryRun: isDryRun,
    limits,
    filter: filter ?? null,
    retentionDays: Math.round(retentionMs / DAY_MS),
    state: isPaused ? 'paused' : status.state,
    stateSince: isPaused ? times.updatedAt : status.since,
    failure: failure as MailboxBody['failure'],
    failures,
    lastFetch: lastFetch as MailboxBody['lastFetch'],
    lastSuccessAt,
    warnings: warnings.map(describeWarning),
    nextFetchAt: nextMs === null ? null : new Date(nextMs).toISOString(),
    sharedWith,
    createdAt: times.createdAt,
    updatedAt: times.updatedAt,
  };
}

function noMailbox(id: string): AppError {
  return new AppError('not_found', `There is no mailbox ${id}, or no longer.`);
}
