/** The body of an event as it is sent: the shape that the contract gives under `webhooks`. */
import type { components } from '../contract.gen.ts';
import type { Message } from '../message/message.ts';
import type { EventRef } from './event.ts';
import { bodyCharsMax } from './limits.ts';

type MessageReceivedEvent = components['schemas']['MessageReceivedEvent'];

export interface MessageReader {
  find(tenant: string, id: string): Promise<Message | null>;
}

/** Null when the message has been deleted since. */
export async function buildPayload(messages: MessageReader, event: EventRef): Promise<string | null> {
  if (event.type !== 'message.received') return null;
  const message = await messages.find(event.tenant, event.subject);
  if (!message) return null;
  const payload: MessageReceivedEvent = {
    type: event.type,
    timestamp: message.fetchedAt,
    data: {
      tenant: event.tenant,
      mailboxId: event.mailboxId ?? '',
      fetchId: event.fetchId ?? '',
      message: { ...message, ...cutBodies(message) },
    },
  };
  return JSON.stringify(payload);
}

/** A webhook is a notice: long bodies are cut, marked as such, and whole at `GET /v1/messages/{id}`. */
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
