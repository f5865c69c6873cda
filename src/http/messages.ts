/**
 * `/v1/messages/{id}`: JSON, raw bytes and attachments; acknowledging and deleting. Mail is untrusted: no browser may run or
 * show what is sent here.
 */
import { create as contentDisposition } from 'content-disposition';
import type { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import type { ByteRange } from '../message/blobs/blob-store.ts';
import { respondWithBytes } from './byte-response.ts';
import { downloadName } from './download-name.ts';
import {
  isRecordField,
  presentHtml,
  selectFields,
  withPaths,
  withRawPath,
  type FieldName,
  type HtmlSanitizer,
  type MessageBody,
  type PartialBody,
  type RecordBody,
} from './message-view.ts';
import type { Call, Handlers } from './route.ts';

/** What is sent of an attachment. */
export interface AttachmentBody {
  readonly contentType: string;
  /** As the sender wrote it. */
  readonly filename: string | null;
  /** Decoded bytes. */
  readonly size: number;
  /** Hex. */
  readonly sha256: string;
  /** Null where they are gone. */
  open(range?: ByteRange): Promise<Readable | null>;
}

export interface MessagePorts {
  messages: {
    find(tenant: string, id: string): Promise<MessageBody | null>;
    findRecord(tenant: string, id: string): Promise<RecordBody | null>;
    openRaw(tenant: string, id: string, range?: ByteRange): Promise<Readable | null>;
    findAttachment(tenant: string, id: string, attachmentId: string): Promise<AttachmentBody | null>;
    /** When it was acknowledged first; null where there is no such message. */
    acknowledge(tenant: string, id: string): Promise<string | null>;
    /** False where there is no such message. */
    remove(tenant: string, id: string): Promise<boolean>;
  };
  sanitizer: HtmlSanitizer;
}

const UNTRUSTED = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
} as const;

type MessageHandlers = Pick<
  Handlers,
  'getMessage' | 'getMessageRaw' | 'getAttachment' | 'acknowledgeMessage' | 'deleteMessage'
>;

export function messageHandlers({ messages, sanitizer }: MessagePorts): MessageHandlers {
  const findWhole = async ({ principal, path, query }: Call<'getMessage'>): Promise<MessageBody | null> => {
    const message = await messages.find(principal.tenant, path.messageId);
    const isHtmlWanted = query.fields === undefined || query.fields.some((name) => HTML_FIELDS.has(name));
    return message && withPaths(isHtmlWanted ? await presentHtml(message, query.html ?? 'raw', sanitizer) : message);
  };
  const findRecord = async ({ principal, path }: Call<'getMessage'>): Promise<PartialBody | null> => {
    const record = await messages.findRecord(principal.tenant, path.messageId);
    return record && withRawPath(record);
  };

  return {
    async getMessage(call) {
      const { fields } = call.query;
      const message = await (fields?.every(isRecordField) ? findRecord(call) : findWhole(call));
      if (!message) throw noMessage(call.path.messageId);
      return { status: 200, body: fields ? selectFields(message, fields) : message };
    },

    async getMessageRaw({ principal, path, ...request }) {
      const { tenant } = principal;
      const record = await messages.findRecord(tenant, path.messageId);
      if (!record) throw noMessage(path.messageId);
      const { id, size, digest } = record;
      const open = (range?: ByteRange): Promise<Readable | null> => messages.openRaw(tenant, id, range);
      const response =
        digest === null
          ? null
          : await respondWithBytes(
              request,
              { size, etag: `"${digest}"`, open },
              {
                ...UNTRUSTED,
                'content-type': 'message/rfc822',
                'content-disposition': contentDisposition(`${id}.eml`),
              },
            );
      if (!response) throw notFound(`The bytes of message ${id} were not kept, or no longer.`);
      return response;
    },

    async getAttachment({ principal, path, ...request }) {
      const { tenant } = principal;
      const { messageId, attachmentId } = path;
      const found = await messages.findAttachment(tenant, messageId, attachmentId);
      const response =
        found &&
        (await respondWithBytes(
          request,
          { size: found.size, etag: `"${found.sha256}"`, open: found.open },
          {
            ...UNTRUSTED,
            'content-type': found.contentType,
            'content-disposition': contentDisposition(downloadName(found.filename) ?? attachmentId),
          },
        ));
      if (!response) throw notFound(`There is no attachment ${attachmentId} of message ${messageId}, or no longer.`);
      return response;
    },

    async acknowledgeMessage({ principal, path }) {
      const acknowledgedAt = await messages.acknowledge(principal.tenant, path.messageId);
      if (acknowledgedAt === null) throw noMessage(path.messageId);
      return { status: 200, body: { id: path.messageId, acknowledgedAt } };
    },

    async deleteMessage({ principal, path }) {
      if (!(await messages.remove(principal.tenant, path.messageId))) throw noMessage(path.messageId);
      return new Response(null, { status: 204 });
    },
  };
}

/** Fields that depend on how the HTML is given. */
const HTML_FIELDS: ReadonlySet<FieldName> = new Set(['html', 'htmlOmitted', 'htmlTruncated']);

export function noMessage(id: string): AppError {
  return notFound(`There is no message ${id}, or no longer.`);
}

function notFound(detail: string): AppError {
  return new AppError('not_found', detail);
}
