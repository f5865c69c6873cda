/** The types of events, and patterns for them: `message.received`, `message.*`, `*`. */
import type { EventType } from './event.ts';

const TYPES: Readonly<Record<EventType, true>> = {
  'message.received': true,
  'message.skipped': true,
  'message.deleted_upstream': true,
  'fetch.succeeded': true,
  'fetch.failed': true,
  'mailbox.recovered': true,
  'mailbox.retrying': true,
  'mailbox.needs_credentials': true,
  'mailbox.blocked': true,
  'mailbox.paused': true,
  'mailbox.warning': true,
  'webhook.failing': true,
  'webhook.disabled': true,
  'webhook.recovered': true,
  'webhook.test': true,
  'delivery.exhausted': true,
};

export const EVENT_TYPES = Object.keys(TYPES) as readonly EventType[];

/** What is after the last dot may be any. */
export function matchesType(pattern: string, type: string): boolean {
  return pattern === '*' || pattern === type || (pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1)));
}

/** Whether it matches any type that there is: whoever misspells one would wait for ever. */
export function isTypePattern(pattern: string): boolean {
  return EVENT_TYPES.some((type) => matchesType(pattern, type));
}
