/** `/v1/fetches`: what the contract says of it, in terms of the fetch and webhook domains. */
import type { components } from '../contract.gen.ts';
import { hasEnded, type Fetch, type FetchRef } from '../fetch/fetch.ts';
import type { FetchService } from '../fetch/service.ts';
import type { DeliverySummary, FetchWebhook } from '../webhook/fetch-webhooks.ts';
import { applied, noFetch, readWait, renderFetch, replyWithFetch, waitForEnd } from './fetch-reply.ts';
import { pageCharsMax } from './limits.ts';
import { readCredentials } from './mailboxes.ts';
import { withPaths, type MessageBody } from './message-view.ts';
import type { Call, Handlers } from './route.ts';

type FetchBody = components['schemas']['Fetch'];

export interface FetchPorts {
  fetches: FetchService;
  webhooks: {
    /** @param lifeMs how long after the last message it is kept. */
    register(ref: FetchRef, webhook: FetchWebhook, lifeMs: number): Promise<void>;
    summarise(ref: FetchRef): Promise<DeliverySummary | null>;
    /** @throws AppError `egress_blocked`. */
    check(url: string): void;
  };
  messages: { find(tenant: string, id: string): Promise<MessageBody | null> };
  /** The largest message that the service retrieves, in bytes. */
  messageBytesMax: number;
  /** How long fetches and messages are kept where the request does not say, in milliseconds. */
  retentionMs: number;
  /** Aborted when the process stops: who waits is answered at once. */
  shutdown: AbortSignal;
}

const DAY_MS = 24 * 60 * 60 * 1000;

type FetchHandlers = Pick<Handlers, 'createFetch' | 'getFetch' | 'deleteFetch' | 'listFetchMessages'>;

export function fetchHandlers(ports: FetchPorts): FetchHandlers {
  const { fetches, webhooks, messages } = ports;

  const render = (fetch: Fetch): Promise<FetchBody> => renderFetch(ports, fetch);
  const refOf = ({ principal, path }: Call<'getFetch' | 'deleteFetch' | 'listFetchMessages'>): FetchRef => ({
    tenant: principal.tenant,
    id: path.fetchId,
  });

  /** One after another, and only until the page is full: a hundred large messages at once would be held in memory. */
  const readPage = async (tenant: string, ids: readonly string[]): Promise<{ items: MessageBody[]; read: number }> => {
    const items: MessageBody[] = [];
    let chars = 0;
    let read = 0;
    for (const id of ids) {
      if (chars >= pageCharsMax) break;
      read += 1;
      const message = await messages.find(tenant, id);
      if (!message) continue; // Deleted since, by another fetch; the rest of the page stands.
      items.push(withPaths(message));
      chars += (message.text?.length ?? 0) + (message.html?.length ?? 0);
    }
    return { items, read };
  };

  return {
    async createFetch({ body, header, principal, signal }) {
      if (body.webhook) webhooks.check(body.webhook.url);
      const created = await fetches.create(principal.tenant, {
        source: {
          host: body.source.host,
          port: body.source.port ?? (body.source.tls === 'implicit' ? 995 : 110),
          tls: body.source.tls,
          username: body.source.username,
          credentials: readCredentials(body.source),
          ca: body.source.ca ?? null,
        },
        delete: body.delete,
        limits: {
          ...body.limits,
          messageBytes: Math.min(body.limits.messageBytes ?? ports.messageBytesMax, ports.messageBytesMax),
        },
        ...(body.filter && { filter: body.filter }),
        retentionMs: body.retentionDays === undefined ? ports.retentionMs : body.retentionDays * DAY_MS,
      });
      if (body.webhook) await webhooks.register(created, body.webhook, created.retentionMs);
      await fetches.enqueue(created);

      return replyWithFetch(ports, created, readWait(header['prefer']), signal);
    },

    async getFetch(call) {
      const seconds = readWait(call.header['prefer']);
      const ref = refOf(call);
      const fetch = seconds === null ? await fetches.find(ref) : await waitForEnd(ports, ref, seconds, call.signal);
      if (!fetch) throw noFetch(ref.id);
      return { status: 200, headers: applied(seconds), body: await render(fetch) };
    },

    async deleteFetch(call) {
      const ref = refOf(call);
      const fetch = await fetches.find(ref);
      if (!fetch) throw noFetch(ref.id);
      if (hasEnded(fetch.state)) {
        await fetches.delete(ref);
        return new Response(null, { status: 204 });
      }
      await fetches.cancel(ref);
      return { status: 202, body: await render((await fetches.find(ref)) ?? fetch) };
    },

    async listFetchMessages(call) {
      const ref = refOf(call);
      if (!(await fetches.find(ref))) throw noFetch(ref.id);
      const { limit = 25, cursor = '0' } = call.query;
      const offset = Number(cursor);
      const { ids, nextOffset } = await fetches.listMessageIds(ref, offset, limit);
      const { items, read } = await readPage(ref.tenant, ids);
      const next = read < ids.length ? offset + read : nextOffset;
      return { status: 200, body: { items, nextCursor: next === null ? null : String(next) } };
    },
  };
}
