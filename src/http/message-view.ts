/** A message as the API gives it out: with the paths of its bytes, its HTML in the form that was asked for, and some fields alone. */
import type { components } from '../contract.gen.ts';

export type MessageBody = components['schemas']['Message'];
export type PartialBody = components['schemas']['PartialMessage'];
type RecordFields = components['schemas']['RecordFields'];

/** What is known of a message without reading its content. */
export type RecordBody = Pick<MessageBody, keyof RecordFields>;

/** A field of a message. */
export type FieldName = keyof PartialBody;

/** How HTML is asked for. */
export type HtmlForm = components['parameters']['Html'];

export interface HtmlSanitizer {
  sanitize(
    html: string,
  ): Promise<
    | { readonly html: string; readonly isCut: boolean }
    | { readonly html: null; readonly failure: Exclude<NonNullable<PartialBody['htmlOmitted']>, 'not_wanted'> }
  >;
}

const RECORD_FIELDS = {
  id: true,
  mailboxId: true,
  fetchId: true,
  uidl: true,
  size: true,
  digest: true,
  fetchedAt: true,
  expiresAt: true,
  acknowledgedAt: true,
  duplicateOf: true,
  omitted: true,
  rawUrl: true,
} as const satisfies Record<keyof RecordFields, true>;

export function isRecordField(name: FieldName): boolean {
  return Object.hasOwn(RECORD_FIELDS, name);
}

export function messagePath(id: string): string {
  return `/v1/messages/${id}`;
}

export function rawPath(id: string): string {
  return `${messagePath(id)}/raw`;
}

export function attachmentPath(id: string, attachmentId: string): string {
  return `${messagePath(id)}/attachments/${attachmentId}`;
}

/** The record, with the path of the raw bytes where they were kept. */
export function withRawPath<T extends RecordBody>(record: T): T {
  return record.digest === null ? record : { ...record, rawUrl: rawPath(record.id) };
}

export function withPaths(message: MessageBody): MessageBody {
  const attachments = message.attachments.map((attachment) => ({
    ...attachment,
    url: attachmentPath(message.id, attachment.id),
  }));
  return { ...withRawPath(message), attachments };
}

/** The message with its HTML in another form than the mail's own. */
export async function presentHtml<T extends Pick<MessageBody, 'html' | 'htmlTruncated'>>(
  message: T,
  form: HtmlForm,
  { sanitize }: HtmlSanitizer,
): Promise<T & Pick<MessageBody, 'htmlOmitted'>> {
  const { html } = message;
  if (html === null || form === 'raw') return message;
  if (form === 'none') return { ...message, html: null, htmlOmitted: 'not_wanted' };
  const sanitized = await sanitize(html);
  if (sanitized.html === null) return { ...message, html: null, htmlOmitted: sanitized.failure };
  return { ...message, html: sanitized.html, htmlTruncated: message.htmlTruncated || sanitized.isCut };
}

/** Those fields of the message that are asked for and there. */
export function selectFields(message: PartialBody, fields: readonly FieldName[]): PartialBody {
  const wanted = new Set<string>(fields);
  return Object.fromEntries(Object.entries(message).filter(([name]) => wanted.has(name)));
}
