/** The log as its readers see it: page by page behind a cursor, filtered, and waited for. */
import type { EventRef } from './event.ts';
import type { EventLog } from './event-log.ts';
import { matchesType } from './event-types.ts';
import { readEntriesMax, recheckMs, scanEntriesMax } from './limits.ts';
import type { LoggedEvent, Place } from './log-codec.ts';
import type { News } from './news.ts';

export interface EventFilter {
  /** Patterns, one of which must match; see `event-types.ts`. */
  types: readonly string[];
  /** Null: of any mailbox, and of none. */
  mailboxId: string | null;
}

export interface FeedQuery extends EventFilter {
  /** Null: from the beginning of the log. */
  after: Place | null;
  limit: number;
  /** How long to wait for an event where there is none, in milliseconds. */
  waitMs: number;
}

export interface EventPage {
  events: LoggedEvent[];
  /** Up to here all has been looked at. */
  end: Place;
  /** There may be more to be read at once. */
  hasMore: boolean;
}

export interface EventFeed {
  /** Null where what is behind `after` is not all there any more. */
  read(tenant: string, query: FeedQuery, signal: AbortSignal): Promise<EventPage | null>;
  /** The place of the latest event. */
  end(tenant: string): Promise<Place>;
}

export interface FeedPorts {
  log: Pick<EventLog, 'read' | 'end'>;
  news: News;
  clock: { now(): number };
}

export function createEventFeed({ log, news, clock }: FeedPorts): EventFeed {
  async function scan(
    tenant: string,
    { after, limit, ...filter }: Omit<FeedQuery, 'waitMs'>,
  ): Promise<EventPage | null> {
    const events: LoggedEvent[] = [];
    let place = after;
    for (let looked = 0; ; looked += readEntriesMax) {
      const section = await log.read(tenant, place);
      if (!section) return null;
      for (const entry of section.entries) {
        place = entry.place;
        if (isWanted(entry.event, filter)) events.push(entry);
        if (events.length >= limit) return { events, end: place, hasMore: true };
      }
      const isWhole = section.entries.length < readEntriesMax;
      if (isWhole || looked >= scanEntriesMax) return { events, end: place ?? section.end, hasMore: !isWhole };
    }
  }

  return {
    end: log.end,
    async read(tenant, { waitMs, ...query }, signal) {
      const untilMs = clock.now() + waitMs;
      const ear = waitMs > 0 ? news.listen(tenant) : null;
      try {
        let { after } = query;
        for (;;) {
          const page = await scan(tenant, { ...query, after });
          const leftMs = untilMs - clock.now();
          const isDone = !page || page.events.length > 0 || page.hasMore || leftMs <= 0 || signal.aborted;
          if (isDone || !ear) return page;
          after = page.end;
          await ear.wait(Math.min(leftMs, recheckMs), signal);
        }
      } finally {
        ear?.stop();
      }
    },
  };
}

function isWanted({ type, mailboxId }: EventRef, filter: EventFilter): boolean {
  const isOfMailbox = filter.mailboxId === null || filter.mailboxId === mailboxId;
  return isOfMailbox && filter.types.some((pattern) => matchesType(pattern, type));
}
