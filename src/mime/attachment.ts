/**
 * One attachment's decoded bytes out of the raw message, with constant memory.
 *
 * Nothing of an attachment is kept when a message is parsed; the same parser finds it again by its ordinal.
 */
import { Decoder as Base64Decoder } from 'libbase64';
import { Decoder as QuotedPrintableDecoder } from 'libqp';
import { PassThrough, pipeline, Readable, type Transform } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { AttachmentStream } from 'mailparser';
import { attachmentFieldCharsMax, parseLimits } from './limits.ts';
import { mendMessage } from './mended.ts';
import type { AttachmentInfo, AttachmentSource } from './message.ts';
import { PartParser, runParser, type VisitAttachment } from './part-parser.ts';
import { clean } from './text.ts';
import { openTnefFile, type UnpackedFile } from './tnef-files.ts';

export interface OpenAttachment extends Pick<AttachmentInfo, 'contentType' | 'filename'> {
  /** Decoded bytes. Fails with the error of the raw message's stream; destroy it to stop early. */
  readonly stream: Readable;
}

/**
 * Reads `raw` as far as needed and destroys it in any case.
 *
 * @param attachmentId of parseMessage's list; `att_2.1` is the first file of the winmail.dat `att_2`.
 * @returns null where the message has no such attachment.
 * @throws the error of `raw`, where it fails before the attachment begins.
 */
export function openAttachment(raw: Readable, attachmentId: string): Promise<OpenAttachment | null> {
  const { promise, resolve, reject } = Promise.withResolvers<OpenAttachment | null>();
  const [, id, file] = /^(att_\d+)(?:\.([1-9]\d{0,5}))?$/.exec(attachmentId) ?? [];
  const parser = new PartParser(ANY_NUMBER, 0);
  const visit: VisitAttachment = async (attachment, ordinal) => {
    if (idOf(ordinal) !== id) {
      attachment.content.resume();
      return finished(attachment.content);
    }
    const opened = await open(attachment, ordinal, file === undefined ? null : Number(file));
    resolve(opened);
    // However it ends, nothing after it is wanted.
    if (opened !== null) await finished(opened.stream).catch(() => {});
    parser.destroy();
  };
  mendMessage(raw, () => undefined, ANY_NUMBER)
    .then(({ stream }) => runParser(parser, stream, visit))
    .then(
      () => resolve(null),
      () => (raw.errored === null ? resolve(null) : reject(raw.errored)),
    );
  return promise;
}

/** Whoever lists an attachment had a bound; whoever asks for it by its id has it from there. */
const ANY_NUMBER = { ...parseLimits, parts: Number.MAX_SAFE_INTEGER, partDepth: Number.MAX_SAFE_INTEGER };

/** @param file of a winmail.dat; its names are behind its content, and so are not known. */
async function open(
  attachment: AttachmentStream,
  ordinal: number,
  file: number | null,
): Promise<OpenAttachment | null> {
  if (file === null) {
    const { contentType, filename } = describeAttachment(attachment, ordinal);
    return { contentType, filename, stream: attachment.content };
  }
  const bytes = await openTnefFile(attachment.content as AsyncIterable<Buffer>, file);
  return (
    bytes && {
      contentType: normalizeContentType(false),
      filename: null,
      stream: Readable.from(bytes, { objectMode: false }),
    }
  );
}

/** Decodes the bytes that an AttachmentSource points at, by the decoders that the parser itself has. */
export function decodeAttachment(encoded: Readable, encoding: AttachmentSource['encoding']): Readable {
  // An error of either is one of what is read.
  return pipeline(encoded, createDecoder(encoding), () => undefined);
}

function createDecoder(encoding: AttachmentSource['encoding']): Transform {
  if (encoding === 'identity') return new PassThrough();
  return encoding === 'base64' ? new Base64Decoder() : new QuotedPrintableDecoder();
}

/** What is known of an attachment without its content; size and digest once that has ended. */
export function describeAttachment(
  attachment: AttachmentStream,
  ordinal: number,
): Omit<AttachmentInfo, 'detectedContentType'> {
  const { contentType, filename, contentDisposition, cid, related, partId } = attachment;
  const disposition =
    contentDisposition === undefined ? null : contentDisposition === 'inline' ? 'inline' : 'attachment';
  return {
    id: idOf(ordinal),
    part: partId ?? '1',
    filename: keep(filename),
    contentType: normalizeContentType(declaredType(attachment) ?? contentType),
    disposition,
    contentId: keep(cid),
    inline: disposition === 'inline' || related === true,
    size: attachment.size ?? 0,
    sha256: attachment.checksum ?? '',
  };
}

/** As written: MailParser guesses by the file name where it says no more than that it is bytes. */
function declaredType({ headers }: AttachmentStream): string | null {
  const field = headers.get('content-type') as { value?: string } | undefined;
  return field?.value === 'application/octet-stream' ? field.value : null;
}

/** A file of the winmail.dat `container`. */
export function describeUnpacked(container: AttachmentInfo, file: UnpackedFile): AttachmentInfo {
  const contentId = keep(file.contentId?.replace(/^<(.*)>$/s, '$1'));
  return {
    id: `${container.id}.${file.ordinal}`,
    part: container.part,
    filename: keep(file.name),
    contentType: normalizeContentType(file.contentType ?? false),
    detectedContentType: file.detectedContentType,
    disposition: 'attachment',
    contentId,
    inline: false,
    size: file.size,
    sha256: file.sha256,
  };
}

function idOf(ordinal: number): string {
  return `att_${ordinal}`;
}

function keep(text: string | null | undefined): string | null {
  return text ? clean(text, attachmentFieldCharsMax).text : null;
}

/** Fit for a Content-Type header field, whatever the mail says (RFC 2045 §5.1). */
function normalizeContentType(written: string | false): string {
  const type = written === false ? '' : written.toLowerCase();
  const isType = type.length <= attachmentFieldCharsMax && /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.test(type);
  return isType ? type : 'application/octet-stream';
}
