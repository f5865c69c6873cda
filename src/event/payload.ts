/**
 * An event as it is read and sent: a CloudEvents 1.0 envelope (§2 of its JSON format), the shape that the contract gives under
 * `webhooks`, made from the reference and what is stored now.
 */
import type { components } from '../contract.gen.ts';
import type { Message, MessageNotice } from '../message/message.ts';
import type { EventRef } from './event.ts';
import type { InlineAttachment, TakeBytes } from './inline-attachments.ts';
import { bodyCharsMax } from './limits.ts';

export type EventEnvelope = components['schemas']['Event'];

type Links = components['schemas']['MessageLinks'];

/** What the event of a message that was received says of it; null where it has been deleted since. Bytes go with it as far as it may take them. */
export type TellMessage = (tenant: string, id: string, take?: TakeBytes) => Promise<{ message: object } | null>;

/** What is sent to who may have no key, beside the message. */
export interface Enclosures {
  links(tenant: string, message: Pick<Message, 'id' | 'digest'> & { attachments: readonly { id: string }[] }): Links;
  attachments?(tenant: string, message: Message, take?: TakeBytes): Promise<InlineAttachment[]>;
}

/** The message as it is stored. */
export function tellWhole(
  messages: { find(tenant: string, id: string): Promise<Message | null> },
  enclosures?: Enclosures,
): TellMessage {
  return async (tenant, id, take) => {
    const message = await messages.find(tenant, id);
    return (
      message && {
        message: { ...message, ...cutBodies(message) },
        ...(enclosures && { links: enclosures.links(tenant, message) }),
        ...(enclosures?.attachments && { attachments: await enclosures.attachments(tenant, message, take) }),
      }
    );
  };
}

/** What a list says of the message: its content is not opened. */
export function tellBriefly(
  messages: { findNotice(tenant: string, id: string): Promise<MessageNotice | null> },
  { links }: Enclosures,
): TellMessage {
  return async (tenant, id) => {
    const notice = await messages.findNotice(tenant, id);
    if (!notice) return null;
    const { message, attachmentIds } = notice;
    const attachments = attachmentIds.map((attachment) => ({ id: attachment }));
    return { message, links: links(tenant, { id, digest: message.digest, attachments }) };
  };
}

/** Digits of a sequence, which sorts as text, too. */
const SEQUENCE_DIGITS = 12;

/** The envelope as JSON. Null for a message that has been deleted since. */
export async function buildPayload(tell: TellMessage, event: EventRef, take?: TakeBytes): Promise<string | null> {
  const envelope = await buildEnvelope(tell, event, take);
  return envelope.type === 'message.received' && envelope.data.message === null ? null : JSON.stringify(envelope);
}

export async function buildEnvelope(tell: TellMessage, event: EventRef, take?: TakeBytes): Promise<EventEnvelope> {
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
    data: await dataOf(tell, event, take),
  } as EventEnvelope;
}

async function dataOf(tell: TellMessage, event: EventRef, take?: TakeBytes): Promise<object> {
  if (event.type === 'message.deleted_upstream') return { messageId: event.subject };
  if (event.type !== 'message.received') return event.facts;
  return (await tell(event.tenant, event.subject, take)) ?? { message: null };
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
