/**
 * Events: something that happened, immutable, with an id that is derived and so the same whenever it happens again.
 *
 * An event is kept and passed on as a reference: ids and a few facts, no mail. What is sent is made from stored data by
 * `payload.ts` when it is sent. Who announces an event says what happened (`NewEvent`); the log gives it its place (`EventRef`).
 */
import { eventId } from '../identity.ts';

export interface FetchCounts {
  retrieved: number;
  omitted: number;
  skipped: number;
  filtered: number;
  failed: number;
  deleted: number;
}

/** A typed failure without its text, which quotes what a server has said. */
export interface FailureFacts {
  code: string;
  phase: string | null;
}

/** Of a change of a mailbox's state. The type of the event names the state that it came to; `recovered` is `ok`. */
export interface StateFacts {
  /** ISO 8601. */
  since: string;
  failure: FailureFacts | null;
}

/** What each type of event says beside its subject, all of it fit to be kept in clear text. */
export interface EventFacts {
  /** Subject: the message. */
  'message.received': object;
  /** Subject: the id that the message would have had. */
  'message.skipped': { uidl: string; reason: 'filter_size' | 'filter_headers'; bytes: number | null };
  /** popbridge has deleted it upstream, and the server has confirmed it. Subject: the message. */
  'message.deleted_upstream': object;
  /** Subject: the fetch. */
  'fetch.succeeded': { counts: FetchCounts };
  'fetch.failed': { counts: FetchCounts; error: FailureFacts };
  /** Subject: the mailbox. */
  'mailbox.recovered': StateFacts;
  'mailbox.retrying': StateFacts;
  'mailbox.needs_credentials': StateFacts;
  'mailbox.blocked': StateFacts;
  'mailbox.paused': StateFacts;
  'mailbox.warning': { code: 'unique_ids_changed' | 'unique_ids_reused' | 'mail_expires'; since: string };
  /** Subject: the webhook. */
  'webhook.failing': { failingSince: string; percent: 50 | 70 | 90 };
  'webhook.disabled': { reason: 'failing' | 'gone'; failingSince: string | null };
  'webhook.recovered': { failingSince: string | null };
  /** For trying; it is in no log. */
  'webhook.test': object;
  /** Subject: the delivery. */
  'delivery.exhausted': { webhookId: string; eventId: string; attempts: number; status: number | null };
}

export type EventType = keyof EventFacts;

interface Happened<Type extends EventType> {
  id: string;
  type: Type;
  tenant: string;
  /** The id of what it is about. */
  subject: string;
  /** When it happened; ISO 8601. */
  time: string;
  /** Null where it is of no mailbox, and of no fetch. */
  mailboxId: string | null;
  fetchId: string | null;
  facts: EventFacts[Type];
}

/** An event as it is announced. */
export type NewEvent = { [Type in EventType]: Happened<Type> }[EventType];

/** An event that is in the log. */
export type EventRef = NewEvent & {
  /** Counts the events of its mailbox, from 1 and without gaps; null where it is of no mailbox. */
  sequence: number | null;
  /** W3C: what was under way when it was announced. Of deliveries alone; the log does not have it. */
  traceparent?: string;
};

/**
 * @param occasion tells one time that this happens to the subject from the next; none where it can happen once only.
 */
export function describeEvent<Type extends EventType>(
  type: Type,
  about: Omit<Happened<Type>, 'id' | 'type'>,
  ...occasion: string[]
): NewEvent {
  const { tenant, subject, time, mailboxId, fetchId, facts } = about;
  const id = eventId(type, subject, ...occasion);
  // Each type goes with its own facts, which the compiler does not see for a type that is not known yet.
  return { id, type, tenant, subject, time, mailboxId, fetchId, facts } as NewEvent;
}

interface OfFetch {
  tenant: string;
  mailboxId: string;
  fetchId: string;
  time: string;
}

/** A message is received once, whichever fetch has it. */
export function messageReceived({ messageId, ...of }: OfFetch & { messageId: string }): NewEvent {
  return describeEvent('message.received', { ...of, subject: messageId, facts: {} });
}
