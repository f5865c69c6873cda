/**
 * An event as it is read and sent: a CloudEvents 1.0 envelope (§2 of its JSON format), the shape that the contract gives under
 * `webhooks`, made from the reference and what is stored now.
 */
import type { components } from '../contract.gen.ts';
import type { Message } from '../message/message.ts';
import type { EventRef } from './event.ts';
import type { InlineAttachment } from './inline-attachments.ts';
import { bodyCharsMax } from './limits.ts';

export type EventEnvelope = components['schemas']['Event'];

export interface MessageReader {
  find(tenant: string, id: string): Promise<Message | null>;
}

/** What is sent to who may have no key, beside the event as it is read. */
export interface Enclosures {
  links(tenant: string, message: Message): components['schemas']['MessageLinks'];
  attachments?(tenant: string, message: Message): Promise<InlineAttachment[]>;
}

/** Digits of a sequence, which sorts as text, too. */
const SEQUENCE_DIGITS = 12;

/** The envelope as JSON. Null for a message that has been deleted since. */
export async function buildPayload(
  messages: MessageReader,
  event: EventRef,
  enclosures?: Enclosures,
): Promise<string | null> {
  const envelope = await buildEnvelope(messages, event, enclosures);
  return envelope.type === 'message.received' && envelope.data.message === null ? null : JSON.stringify(envelope);
}

export async function buildEnvelope(
  messages: MessageReader,
  event: EventRef,
  enclosures?: Enclosures,
): Promise<EventEnvelope> {
  const { id, type, tenant, subject, time, mailboxId, fetchId, sequence } = event;
  // Which data belongs to which type is in the contract, and a test holds every type against it.
  return {
    specversion: '1.0',
    id,
    source: `urn:popbridge:${encodeURIComponent(tenant)}`,
    type,
    time,
    subject,
    datacontenttype: 'application/json',
    tenant,
    ...(mailboxId !== null && { mailbox: mailboxId }),
    ...(fetchId !== null && { fetch: fetchId }),
    ...(sequence !== null && { sequence: String(sequence).padStart(SEQUENCE_DIGITS, '0') }),
    data: await dataOf(messages, event, enclosures),
  } as EventEnvelope;
}

async function dataOf(messages: MessageReader, event: EventRef, enclosures: Enclosures | undefined): Promise<object> {
  if (event.type === 'message.deleted_upstream') return { messageId: event.subject };
  if (event.type !== 'message.received') return event.facts;
  const message = await messages.find(event.tenant, event.subject);
  if (!message) return { message: null };
  return {
    message: { ...message, ...cutBodies(message) },
    ...(enclosures && { links: enclosures.links(event.tenant, message) }),
    ...(enclosures?.attachments && { attachments: await enclosures.attachments(event.tenant, message) }),
  };
}

/** An event is a notice: long bodies are cut, marked as such, and whole at `GET /v1/messages/{id}`. */
function cutBodies({ text, html, textTruncated, htmlTruncated }: Message) {
  const cut = (body: string | null): string | null =>
    body !== null && body.length > bodyCharsMax ? body.slice(0, bodyCharsMax).toWellFormed() : body;
  return {
    text: cut(text),
    html: cut(html),
    textTruncated: textTruncated || (text?.length ?? 0) > bodyCharsMax,
    htmlTruncated: htmlTruncated || (html?.length ?? 0) > bodyCharsMax,
  };
}
