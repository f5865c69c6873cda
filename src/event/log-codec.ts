/** An event as an entry of the log, and its place there. */
import type { EventRef, NewEvent } from './event.ts';

/** Milliseconds since 1970 and a number that counts the events of a tenant, from 1 and without gaps. */
export interface Place {
  ms: number;
  number: number;
}

export interface LoggedEvent {
  place: Place;
  event: EventRef;
}

export const startOfLog: Place = { ms: 0, number: 0 };

/** As the stream has it, and as a cursor that callers keep. */
export function formatPlace({ ms, number }: Place): string {
  return `${ms}-${number}`;
}

/** @param text `formatPlace` has made, or the contract's pattern lets in. */
export function parsePlace(text: string): Place {
  const [ms = 0, number = 0] = text.split('-').map(Number);
  return { ms, number };
}

/** Always the same fields in the same order: the stream then keeps their names once for many entries. */
export const FIELDS = ['id', 'type', 'subject', 'time', 'mailbox', 'fetch', 'facts'] as const;

export function encodeEvent({ id, type, subject, time, mailboxId, fetchId, facts }: NewEvent): string[] {
  return [id, type, subject, String(Date.parse(time)), mailboxId ?? '', fetchId ?? '', JSON.stringify(facts)];
}

/** @param entry as Redis gives it: `[id, [field, value, ...]]`. */
export function decodeEntry(tenant: string, [id, fields]: readonly [string, readonly string[]]): LoggedEvent {
  const read = (name: string): string => fields[fields.indexOf(name) + 1] ?? '';
  const event = {
    id: read('id'),
    type: read('type'),
    tenant,
    subject: read('subject'),
    time: new Date(Number(read('time'))).toISOString(),
    mailboxId: read('mailbox') || null,
    fetchId: read('fetch') || null,
    sequence: Number(read('sequence')) || null,
    facts: JSON.parse(read('facts')) as object,
  } as EventRef;
  return { place: parsePlace(id), event };
}
