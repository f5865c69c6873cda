/** `/v1/messages`: JSON, raw bytes and attachments. Mail is untrusted: no browser may run or show what is sent here. */
import { create as contentDisposition } from 'content-disposition';
import type { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import type { ByteRange } from '../message/blob-store.ts';
import type { Message, MessageRecord } from '../message/message.ts';
import { respondWithBytes, respondWithStream } from './byte-response.ts';
import type { Handlers } from './route.ts';

export interface MessagePorts {
  messages: {
    find(tenant: string, id: string): Promise<Message | null>;
    findRecord(tenant: string, id: string): Promise<MessageRecord | null>;
    openRaw(tenant: string, id: string, range?: ByteRange): Promise<Readable | null>;
    openAttachment(
      tenant: string,
      id: string,
      attachmentId: string,
    ): Promise<{ contentType: string; filename: string | null; stream: Readable } | null>;
  };
}

const UNTRUSTED = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
} as const;

export function messageHandlers({
  messages,
}: MessagePorts): Pick<Handlers, 'getMessage' | 'getMessageRaw' | 'getAttachment'> {
  return {
    async getMessage({ principal, path }) {
      const message = await messages.find(principal.tenant, path.messageId);
      if (!message) throw notFound(`message ${path.messageId}`);
      return { status: 200, body: message };
    },

    async getMessageRaw({ principal, path, ...request }) {
      const { tenant } = principal;
      const record = await messages.findRecord(tenant, path.messageId);
      const response =
        record &&
        (await respondWithBytes(
          request,
          {
            size: record.size,
            etag: `"${record.digest}"`,
            open: (range) => messages.openRaw(tenant, record.id, range),
          },
          {
            ...UNTRUSTED,
            'content-type': 'message/rfc822',
            'content-disposition': contentDisposition(`${record.id}.eml`),
          },
        ));
      if (!response) throw notFound(`message ${path.messageId}`);
      return response;
    },

    async getAttachment({ principal, path }) {
      const found = await messages.openAttachment(principal.tenant, path.messageId, path.attachmentId);
      if (!found) throw notFound(`attachment ${path.attachmentId} of message ${path.messageId}`);
      return respondWithStream(found.stream, {
        headers: {
          ...UNTRUSTED,
          'content-type': found.contentType,
          'content-disposition': contentDisposition(found.filename ?? path.attachmentId),
        },
      });
    },
  };
}

function notFound(what: string): AppError {
  return new AppError('not_found', `There is no ${what}, or no longer.`);
}
