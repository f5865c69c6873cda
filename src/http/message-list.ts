/** `GET /v1/messages`: what the contract says of it, in terms of the message index. */
import { createHash } from 'node:crypto';
import type { components, operations } from '../contract.gen.ts';
import type { MessageQuery } from '../message/message-list.ts';
import { invalidRequest, type Violation } from './contract.ts';
import type { Handlers } from './route.ts';

type Summary = components['schemas']['MessageSummary'];

export interface MessageListPorts {
  messages: {
    /** A page may hold fewer than `limit`, even none, and have another behind it: how much is read at once is bounded. */
    list(
      tenant: string,
      query: MessageQuery,
    ): Promise<{ readonly items: readonly Summary[]; readonly nextCursor: string | null }>;
  };
  fetches: { find(ref: { tenant: string; id: string }): Promise<{ mailboxId: string } | null> };
}

type Query = NonNullable<operations['listMessages']['parameters']['query']>;

export function messageListHandlers({ messages, fetches }: MessageListPorts): Pick<Handlers, 'listMessages'> {
  /** A fetch has one mailbox: to look there alone is far less than to look through everything. */
  const withMailbox = async (tenant: string, filters: Filters): Promise<Filters> => {
    if (filters.fetchId === undefined || filters.mailboxId !== undefined) return filters;
    const fetch = await fetches.find({ tenant, id: filters.fetchId });
    return fetch ? { ...filters, mailboxId: fetch.mailboxId } : filters;
  };

  return {
    async listMessages({ principal, query }) {
      const filters = readFilters(query);
      const { sort = 'fetched', order = 'newest', limit = 25 } = query;
      // The tenant is in it, too: a cursor says where somebody's mail stands.
      const owner = JSON.stringify([principal.tenant, filters, sort, order]);
      const cursor = query.cursor === undefined ? null : openCursor(query.cursor, owner);
      const wanted = { ...(await withMailbox(principal.tenant, filters)), sort, order, limit, cursor };
      const { items, nextCursor } = await messages.list(principal.tenant, wanted);
      return {
        status: 200,
        body: { items, nextCursor: nextCursor === null ? null : wrapCursor(nextCursor, owner) },
      };
    },
  };
}

type Filters = Omit<MessageQuery, 'sort' | 'order' | 'limit' | 'cursor'>;

/** @throws AppError `invalid_request` for times that are none, or in no order. */
function readFilters({
  mailbox,
  fetch,
  from,
  to,
  subject,
  hasAttachment,
  kind,
  acknowledged,
  ...query
}: Query): Filters {
  const violations: Violation[] = [];
  const times = {
    ...readSpan('fetched', query.fetchedSince, query.fetchedUntil, violations),
    ...readSpan('received', query.receivedSince, query.receivedUntil, violations),
  };
  if (violations.length > 0) throw invalidRequest(violations);
  return {
    ...(mailbox !== undefined && { mailboxId: mailbox }),
    ...(fetch !== undefined && { fetchId: fetch }),
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(subject !== undefined && { subject }),
    ...(hasAttachment !== undefined && { hasAttachment }),
    ...(kind !== undefined && { kind }),
    ...(acknowledged !== undefined && { acknowledged }),
    ...times,
  };
}

function readSpan(
  name: 'fetched' | 'received',
  since: string | undefined,
  until: string | undefined,
  violations: Violation[],
): Filters {
  const span: Record<string, number> = {};
  for (const [end, written] of [
    [`${name}Since`, since],
    [`${name}Until`, until],
  ] as const) {
    if (written === undefined) continue;
    const ms = Date.parse(written);
    // RFC 3339 has leap seconds, and a Date has none.
    if (Number.isNaN(ms)) violations.push({ in: 'query', pointer: `/${end}`, detail: 'is a time that cannot be read' });
    span[end] = ms;
  }
  const { [`${name}Since`]: sinceMs = 0, [`${name}Until`]: untilMs = Infinity } = span;
  if (sinceMs > untilMs) {
    violations.push({ in: 'query', pointer: `/${name}Until`, detail: `lies before ${name}Since` });
  }
  return span;
}

/** The index's own cursor, and whose query it belongs to: of another query, it would leave out messages in silence. */
function wrapCursor(cursor: string, owner: string): string {
  return `${Buffer.from(cursor).toString('base64url')}.${check(cursor, owner)}`;
}

/** @throws AppError `invalid_request`. */
function openCursor(given: string, owner: string): string {
  const [wrapped = '', checked] = given.split('.');
  const cursor = Buffer.from(wrapped, 'base64url').toString();
  if (wrapCursor(cursor, owner) !== given || checked === undefined) {
    const detail = 'is not the nextCursor of a page of this query';
    throw invalidRequest([{ in: 'query', pointer: '/cursor', detail }]);
  }
  return cursor;
}

function check(cursor: string, owner: string): string {
  return createHash('sha256').update(`${owner}\n${cursor}`).digest('base64url').slice(0, 16);
}
