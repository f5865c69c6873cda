/** `POST /v1/messages/{id}/links`: addresses of one message's parts, for who has no key. Whether a link opens is up to `access`. */
import type { components } from '../contract.gen.ts';
import { attachmentPath, messagePath, rawPath, type MessageBody } from './message-view.ts';
import { noMessage } from './messages.ts';
import type { Handlers } from './route.ts';

export interface MessageLinkPorts {
  messages: { find(tenant: string, id: string): Promise<MessageBody | null> };
  links: { sign(link: { tenant: string; path: string; expiresAtMs: number }): string };
  /** Where the API is for the outside, without a slash at its end; null where nobody has said so. */
  publicUrl: string | null;
  clock: { now(): number };
}

/** Of all that can be read of a message. */
export function linkMessage(
  { links, publicUrl, clock }: Omit<MessageLinkPorts, 'messages'>,
  tenant: string,
  { id, digest, attachments }: Pick<MessageBody, 'id' | 'digest'> & { attachments: readonly { id: string }[] },
  expiresInSeconds: number,
): components['schemas']['MessageLinks'] {
  // In whole seconds, as a token has them.
  const expiresAtMs = (Math.floor(clock.now() / 1000) + expiresInSeconds) * 1000;
  const link = (to: string): string => `${publicUrl ?? ''}${to}?token=${links.sign({ tenant, path: to, expiresAtMs })}`;
  return {
    expiresAt: new Date(expiresAtMs).toISOString(),
    message: link(messagePath(id)),
    raw: digest === null ? null : link(rawPath(id)),
    attachments: attachments.map((attachment) => ({
      id: attachment.id,
      url: link(attachmentPath(id, attachment.id)),
    })),
  };
}

export function messageLinkHandlers(ports: MessageLinkPorts): Pick<Handlers, 'createMessageLinks'> {
  return {
    async createMessageLinks({ principal, path, body }) {
      const { tenant } = principal;
      const message = await ports.messages.find(tenant, path.messageId);
      if (!message) throw noMessage(path.messageId);
      return { status: 200, body: linkMessage(ports, tenant, message, body.expiresInSeconds) };
    },
  };
}
