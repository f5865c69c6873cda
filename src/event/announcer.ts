/**
 * Makes events of what happens elsewhere: takes each into the log and then hands it on. Whoever announces declares what they tell of
 * as a port of their own; this fits them, and imports none of them.
 */
import {
  describeEvent,
  messageReceived,
  type EventFacts,
  type EventRef,
  type FetchCounts,
  type NewEvent,
} from './event.ts';
import type { Trace } from '../trace.ts';
import type { EventLog } from './event-log.ts';
import { handedOnMax } from './limits.ts';

export interface AnnouncerPorts {
  log: Pick<EventLog, 'append'>;
  /** Hands an event on to those it is sent to; once where it is called twice. */
  deliver(event: EventRef): Promise<void>;
  clock: { now(): number };
  trace?: Pick<Trace, 'traceparent'>;
}

interface FetchOf {
  tenant: string;
  id: string;
  mailboxId: string;
}

interface Failure {
  code: string;
  phase: string | null;
}

interface EndedFetch extends FetchOf, FetchCounts {
  endedAt: string | null;
  error: Failure | null;
}

interface MailboxAsItStands {
  tenant: string;
  mailbox: string;
  settings: { isPaused: boolean };
  status: { state: 'ok' | 'retrying' | 'needs_credentials' | 'blocked'; since: string; failure: Failure | null };
  updatedAt: string;
}

/** What is announced is in the log when the promise resolves. Announced again, an event has the same id. */
export interface Announcer {
  announce(tenant: string, events: readonly NewEvent[]): Promise<void>;
  received(of: FetchOf, messages: readonly { id: string; storedMs: number }[]): Promise<void>;
  skipped(
    of: FetchOf,
    messages: readonly { id: string; uidl: string; bytes: number | null }[],
    reason: 'filter_size' | 'filter_headers',
  ): Promise<void>;
  deletedUpstream(of: FetchOf, messageIds: readonly string[]): Promise<void>;
  warned(
    mailbox: { tenant: string; mailbox: string },
    warning: EventFacts['mailbox.warning'],
    fetchId: string,
  ): Promise<void>;
  ended(fetch: EndedFetch): Promise<void>;
  /** @param fetchId null where its owner has changed it. */
  changedState(mailbox: MailboxAsItStands, fetchId: string | null): Promise<void>;
}

const STATE_TYPES = {
  ok: 'mailbox.recovered',
  retrying: 'mailbox.retrying',
  needs_credentials: 'mailbox.needs_credentials',
  blocked: 'mailbox.blocked',
} as const;

export function createAnnouncer({ log, deliver, clock, trace }: AnnouncerPorts): Announcer {
  async function announce(tenant: string, events: readonly NewEvent[]): Promise<void> {
    const traceparent = trace?.traceparent();
    const logged = await log.append(tenant, events);
    for (let from = 0; from < logged.length; from += handedOnMax) {
      const some = logged.slice(from, from + handedOnMax);
      await Promise.all(some.map((event) => deliver({ ...event, ...(traceparent && { traceparent }) })));
    }
  }
  const now = (): string => new Date(clock.now()).toISOString();
  const about = ({ tenant, id, mailboxId }: FetchOf) => ({ tenant, mailboxId, fetchId: id });

  return {
    announce,
    received: (of, messages) =>
      announce(
        of.tenant,
        messages.map(({ id, storedMs }) =>
          messageReceived({ ...about(of), messageId: id, time: new Date(storedMs).toISOString() }),
        ),
      ),
    skipped(of, messages, reason) {
      const time = now();
      return announce(
        of.tenant,
        messages.map(({ id, uidl, bytes }) => {
          const facts = { uidl, reason, bytes };
          return describeEvent('message.skipped', { ...about(of), subject: id, time, facts }, reason);
        }),
      );
    },
    deletedUpstream(of, messageIds) {
      const time = now();
      return announce(
        of.tenant,
        messageIds.map((id) =>
          describeEvent('message.deleted_upstream', { ...about(of), subject: id, time, facts: {} }),
        ),
      );
    },
    warned({ tenant, mailbox }, { code, since }, fetchId) {
      const facts = { code, since };
      const event = { tenant, mailboxId: mailbox, fetchId, subject: mailbox, time: since, facts };
      return announce(tenant, [describeEvent('mailbox.warning', event, code, since)]);
    },
    ended(fetch) {
      const { id, retrieved, omitted, skipped, filtered, failed, deleted, error } = fetch;
      const counts = { retrieved, omitted, skipped, filtered, failed, deleted };
      const common = { ...about(fetch), subject: id, time: fetch.endedAt ?? now() };
      const event = error
        ? describeEvent('fetch.failed', { ...common, facts: { counts, error: withoutText(error) } })
        : describeEvent('fetch.succeeded', { ...common, facts: { counts } });
      return announce(fetch.tenant, [event]);
    },
    changedState({ tenant, mailbox, settings, status, updatedAt }, fetchId) {
      const type = settings.isPaused ? 'mailbox.paused' : STATE_TYPES[status.state];
      const since = settings.isPaused ? updatedAt : status.since;
      const failure = settings.isPaused || !status.failure ? null : withoutText(status.failure);
      const event = { tenant, mailboxId: mailbox, fetchId, subject: mailbox, time: since, facts: { since, failure } };
      return announce(tenant, [describeEvent(type, event, since)]);
    },
  };
}

function withoutText({ code, phase }: Failure): Failure {
  return { code, phase };
}
