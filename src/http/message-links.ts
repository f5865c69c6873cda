/** `POST /v1/messages/{id}/links`: addresses of one message's parts, for who has no key. Whether a link opens is up to `access`. */
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

export function messageLinkHandlers(ports: MessageLinkPorts): Pick<Handlers, 'createMessageLinks'> {
  const { messages, links, publicUrl, clock } = ports;
  return {
    async createMessageLinks({ principal, path, body }) {
      const { tenant } = principal;
      const message = await messages.find(tenant, path.messageId);
      if (!message) throw noMessage(path.messageId);
      const { id, digest, attachments } = message;
      // In whole seconds, as a token has them.
      const expiresAtMs = (Math.floor(clock.now() / 1000) + body.expiresInSeconds) * 1000;
      const link = (to: string): string =>
        `${publicUrl ?? ''}${to}?token=${links.sign({ tenant, path: to, expiresAtMs })}`;
      return {
        status: 200,
        body: {
          expiresAt: new Date(expiresAtMs).toISOString(),
          message: link(messagePath(id)),
          raw: digest === null ? null : link(rawPath(id)),
          attachments: attachments.map((attachment) => ({
            id: attachment.id,
            url: link(attachmentPath(id, attachment.id)),
          })),
        },
      };
    },
  };
}
