/** `GET /v1/events` and its stream: the event log, for consumers that have no URL of their own to be called at. */
import type { components, operations } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { EventFeed, EventFilter, FeedQuery } from '../event/feed.ts';
import type { EventRef } from '../event/event.ts';
import { formatPlace, parsePlace, type LoggedEvent, type Place } from '../event/log-codec.ts';
import { createEventStreams } from './event-stream.ts';
import { eventStreamsAtOnceMax, heartbeatMs, pageCharsMax, pollsAtOnceMax } from './limits.ts';
import { createRoom } from './room.ts';
import type { Handlers } from './route.ts';
import { checkTypes } from './type-patterns.ts';

type EventBody = components['schemas']['Event'];
type PageBody = components['schemas']['EventPage'];
type Query = NonNullable<operations['streamEvents']['parameters']['query']>;

export interface EventPorts {
  events: EventFeed;
  renderEvent(event: EventRef): Promise<EventBody>;
  /** Aborted when the process stops: who waits is answered at once. */
  shutdown: AbortSignal;
}

/** Events that a stream reads at once. */
const STREAM_PAGE = 25;

export function eventHandlers(ports: EventPorts): Pick<Handlers, 'listEvents' | 'streamEvents'> {
  const inRoom = createRoom(pollsAtOnceMax, 'callers', 'kept waiting');
  const respond = createEventStreams(eventStreamsAtOnceMax, 'streams are open');

  async function* follow(tenant: string, query: FeedQuery, signal: AbortSignal): AsyncGenerator<string, void> {
    let after = query.after ?? (await ports.events.end(tenant));
    // Whoever connects again before anything has happened goes on from here.
    yield `id: ${formatPlace(after)}\n\n`;
    while (!signal.aborted) {
      const page = await ports.events.read(tenant, { ...query, after }, signal);
      // The log has gone by too fast. Whoever connects again is told so.
      if (!page) return;
      for (const { place, event } of page.events) {
        yield `id: ${formatPlace(place)}\ndata: ${JSON.stringify(await ports.renderEvent(event))}\n\n`;
      }
      after = page.end;
      // The comment is seen on the wire, and the id spares whoever comes again what they do not want.
      if (!signal.aborted && page.events.length === 0) yield `:\nid: ${formatPlace(after)}\n\n`;
    }
  }

  return {
    async listEvents({ principal, query, signal }) {
      const { limit = 25, wait = 0 } = query;
      const { tenant } = principal;
      const after = query.after === 'latest' ? await ports.events.end(tenant) : readCursor(query.after);
      const wanted = { ...readFilter(query), after, limit, waitMs: wait * 1000 };
      const waiting = AbortSignal.any([signal, ports.shutdown]);
      const read = (): Promise<PageBody> => readPage(ports, tenant, wanted, waiting);
      return { status: 200, body: await (wait > 0 ? inRoom(read) : read()) };
    },
    async streamEvents({ method, principal, query, header, signal }) {
      const { tenant } = principal;
      const after = readCursor(header['last-event-id'] ?? query.after);
      const wanted = { ...readFilter(query), after, limit: STREAM_PAGE, waitMs: heartbeatMs };
      // Answered as an error while it still can be.
      if (!(await ports.events.read(tenant, { ...wanted, limit: 1, waitMs: 0 }, signal))) throw eventsMissed();
      return respond(method, () => follow(tenant, wanted, AbortSignal.any([signal, ports.shutdown])));
    },
  };
}

/** One after another, and only until the page is full. @throws AppError `events_missed`. */
export async function readPage(
  { events, renderEvent }: Pick<EventPorts, 'events' | 'renderEvent'>,
  tenant: string,
  query: FeedQuery,
  signal: AbortSignal,
): Promise<PageBody> {
  const page = await events.read(tenant, query, signal);
  if (!page) throw eventsMissed();
  const items: EventBody[] = [];
  let chars = 0;
  let last: LoggedEvent | undefined;
  for (const logged of page.events) {
    if (chars >= pageCharsMax) break;
    const body = await renderEvent(logged.event);
    items.push(body);
    chars += charsOf(body);
    last = logged;
  }
  const isCut = items.length < page.events.length;
  return { items, nextCursor: formatPlace(isCut && last ? last.place : page.end), hasMore: isCut || page.hasMore };
}

function charsOf(event: EventBody): number {
  const message = event.type === 'message.received' ? event.data.message : null;
  if (!message || !('text' in message)) return 0;
  const { text, html } = message;
  return (text?.length ?? 0) + (html?.length ?? 0);
}

/** @throws AppError `invalid_request`. */
function readFilter({ types = ['*'], mailbox }: Query): EventFilter {
  checkTypes(types, 'query');
  return { types, mailboxId: mailbox ?? null };
}

function readCursor(text: string | undefined): Place | null {
  return text === undefined ? null : parsePlace(text);
}

function eventsMissed(): AppError {
  const text =
    'Events behind this cursor are no longer in the log, or Redis has lost what it is from. Read on without `after` for what there is, ' +
    'and look at what else may have changed, for instance by `GET /v1/messages`.';
  return new AppError('events_missed', text);
}
