/** The bytes of attachments, as a full notice has them: the first ones that fit, whole, and the others by their links. */
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { Message } from '../message/message.ts';
import { inlineBytesMax } from './limits.ts';

export interface InlineAttachment {
  id: string;
  /** Base64. */
  content: string;
}

export interface AttachmentReader {
  /** Its decoded bytes; null where it, or what it is in, is gone. */
  findAttachment(
    tenant: string,
    messageId: string,
    attachmentId: string,
  ): Promise<{ open(): Promise<Readable | null> } | null>;
}

/** False where there is no room for so many bytes in what is sent. */
export type TakeBytes = (bytes: number) => boolean;

/**
 * @param take asked before the bytes of each are read; those that it refuses are left out.
 * @throws AppError `storage_failed`.
 */
export async function inlineAttachments(
  messages: AttachmentReader,
  tenant: string,
  { id, attachments }: Pick<Message, 'id' | 'attachments'>,
  take: TakeBytes = () => true,
): Promise<InlineAttachment[]> {
  const inlined: InlineAttachment[] = [];
  let left = inlineBytesMax;
  for (const attachment of attachments) {
    if (attachment.size > left || !take(base64Chars(attachment.size))) continue;
    const found = await messages.findAttachment(tenant, id, attachment.id);
    const stream = await found?.open();
    if (!stream) continue;
    const content = await buffer(stream);
    left -= content.length;
    inlined.push({ id: attachment.id, content: content.toString('base64') });
  }
  return inlined;
}

function base64Chars(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}
