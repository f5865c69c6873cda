/**
 * mailparser's streaming MailParser, with its silent losses closed and its text parts bounded.
 *
 * It throws away what stands in a multipart outside of any part. That is right for a preamble (RFC 2046 §5.1.1), and wrong
 * where no part ever comes: a multipart without a boundary, or whose boundary never appears, would lose its whole content.
 * Here such content is kept. It also joins text parts without saying which were alternatives; here the tree is shown
 * instead, see body.ts. Both need parts of MailParser that its types do not show, which is why its version is pinned.
 */
import { Transform, type Readable, type TransformCallback } from 'node:stream';
import { finished } from 'node:stream/promises';
import libqp from 'libqp';
import { MailParser } from 'mailparser';
import type { AttachmentStream, MessageText } from 'mailparser';
import { decodeText, type DecodedText } from './charset.ts';
import { headBytesMax, parseLimits, type ParseLimits } from './limits.ts';
import type { AttachmentSource } from './message.ts';
import { decodeBytes } from './text.ts';

/** A MIME part as MailParser keeps it. */
export interface Part {
  /** False where it is not given or not to be read. */
  readonly contentType: string | false;
  readonly children: readonly Part[];
  /** By lower-case name, parsed where MailParser knows how. */
  readonly headers: ReadonlyMap<string, unknown>;
  /** Unset for multiparts. */
  readonly isAttachment?: boolean;
  /** Decoded, of text parts that came to their end. */
  readonly textContent?: string;
  readonly node: SplitNode;
}

interface StructuredField {
  readonly params: Readonly<Record<string, string | undefined>>;
  /** Of those, by RFC 2231. */
  readonly decodedParams: readonly string[];
}

interface SplitNode {
  readonly headers: { get(name: string): readonly unknown[] };
  readonly multipart: string | false;
  disposition: string | false;
  filename: string | false;
  readonly _parsedContentType: StructuredField;
  readonly _parsedContentDisposition: StructuredField;
  readonly parentNode: SplitNode | false;
  /** IMAP's numbers of the parts, words among them. */
  readonly partNr?: readonly (number | string)[];
  charset: string | false;
  contentType: string | false;
  readonly encoding: string | false;
  readonly _boundary: Uint8Array | false;
  /** Bytes of its header section, with the empty line. */
  readonly _headerlen: number;
}

interface SplitContent {
  readonly type: 'body' | 'data';
  readonly node: SplitNode;
  readonly value: Buffer;
}

type SplitChunk = (SplitNode & { readonly type: 'node' }) | SplitContent;

interface MailParserInternals {
  readonly tree: Part | false;
  readonly curnode: Part | false;
  readonly attachmentList: readonly AttachmentStream[];
  processChunk(chunk: SplitChunk, done: (error?: Error) => void): void;
  /** Of charsets; called by the constructor. */
  getDecoder(): { decodeStream(charset: string): Transform };
}

type MailParserOptions = NonNullable<ConstructorParameters<typeof MailParser>[0]>;
/** Those of mailsplit, which MailParser hands on, included. */
interface ParserOptions extends MailParserOptions {
  readonly ignoreEmbedded: boolean;
  readonly maxHeadSize: number;
  readonly maxChildNodes: number;
}
const MailParserWithInternals = MailParser as unknown as new (
  options: ParserOptions,
) => MailParser & MailParserInternals;

const OPTIONS: ParserOptions = {
  checksumAlgo: 'sha256',
  skipHtmlToText: true,
  skipTextToHtml: true,
  skipTextLinks: true,
  skipImageLinks: true,
  // A delivery status is for programs and a forwarded message is a message: both are kept whole, as attachments.
  keepDeliveryStatus: true,
  ignoreEmbedded: true,
  maxHeadSize: headBytesMax,
  // Never reached: it would drop the parts before it as well. PartParser counts them as they come.
  maxChildNodes: Number.MAX_SAFE_INTEGER,
};

/**
 * Takes raw bytes, gives attachments as they stream, each to be consumed and released, then ends. The text is in `tree`.
 * Fails with code EMAXLEN where a bound on parts is passed.
 */
export class PartParser extends MailParserWithInternals {
  #parts = 0;
  #textBytesLeft: number;
  readonly #limits: ParseLimits;
  readonly #cut = new WeakSet<Part>();
  readonly #strays = new WeakMap<Part, Buffer[]>();
  /** Encoded bytes of text parts that are attachments as well. */
  readonly #shown = new WeakMap<Part, Buffer[]>();
  readonly #decoded = new WeakMap<Part, DecodedText>();
  /** Bytes that have passed by. */
  #bytes = 0;
  /** Where the body of each attachment stands, in document order. */
  readonly #bodies: BodySpan[] = [];

  /** @param textBytes of text parts that are decoded, all together; zero where only attachments are wanted. */
  constructor(limits: ParseLimits = parseLimits, textBytes = limits.textBytes) {
    super(OPTIONS);
    this.#limits = limits;
    this.#textBytesLeft = textBytes;
  }

  /** What stands in a multipart that has no parts. */
  strayContent(part: Part): Buffer {
    return Buffer.concat(this.#strays.get(part) ?? []);
  }

  /** What a multipart says that separates its parts; null where it says nothing of use. */
  boundaryOf(part: Part): string | null {
    // oxlint-disable-next-line no-underscore-dangle -- mailsplit's own name
    const boundary = part.node._boundary;
    return boundary === false ? null : Buffer.from(boundary).toString();
  }

  /** What the part adds to the text of the message; null for an attachment that is to be saved and not read. */
  textOf(part: Part): string | null {
    if (part.isAttachment !== true) return part.textContent ?? '';
    const shown = this.decodingOf(part);
    return shown && shown.text.replaceAll('\r\n', '\n');
  }

  /** How the text of the part was decoded; null where it has none. */
  decodingOf(part: Part): DecodedText | null {
    const shown = this.#shown.get(part);
    if (shown !== undefined && !this.#decoded.has(part)) {
      this.#decoded.set(part, this.#decode(part, decodeAtOnce(Buffer.concat(shown), part.node.encoding)));
    }
    return this.#decoded.get(part) ?? null;
  }

  /** MailParser decodes text in what is declared, on its way; here it is all looked at first. */
  override getDecoder(): { decodeStream(): Transform } {
    return {
      decodeStream: () => {
        const part = this.curnode as Part;
        return new CharsetStream((bytes) => {
          const decoded = this.#decode(part, bytes);
          this.#decoded.set(part, decoded);
          return decoded.text;
        });
      },
    };
  }

  #decode({ node, contentType }: Part, bytes: Buffer): DecodedText {
    return decodeText(bytes, node.charset === false ? null : node.charset, contentType === 'text/html');
  }

  /** The Content-Type fields of all multiparts, as far as that matters. */
  contentTypes(): string[] {
    return this.tree === false ? [] : listMultiparts(this.tree);
  }

  /** Whether text of the part was left out. */
  isCut(part: Part): boolean {
    return this.#cut.has(part);
  }

  /**
   * Where the attachment of that ordinal stands in the raw message; null where that cannot be told.
   * @param bytesGiven all that the parser was given: what was counted must be as much, or it has kept some to itself. Null where
   * that was not the raw message.
   */
  sourceOf(ordinal: number, bytesGiven: number | null): AttachmentSource | null {
    const span = this.#bodies[ordinal - 1];
    if (!span || this.#bytes !== bytesGiven || span.bytes !== span.end - span.start) return null;
    const encoding = ENCODINGS.get(span.node.encoding || '') ?? 'identity';
    return { offset: span.start, length: span.bytes, encoding };
  }

  override processChunk(chunk: SplitChunk, done: (error?: Error) => void): void {
    this.#locate(chunk);
    if (chunk.type === 'node') this.#beginPart(chunk, done);
    else if (this.#keep(chunk)) super.processChunk(chunk, done);
    else done();
  }

  #beginPart(node: SplitNode & { type: 'node' }, done: (error?: Error) => void): void {
    // MailParser makes text with String.replace, which V8 leaves as a rope of 32 bytes a line; reading flattens it.
    if (this.curnode !== false) this.curnode.textContent?.charCodeAt(0);
    this.#parts += 1;
    if (this.#parts > this.#limits.parts || depthOf(node) > this.#limits.partDepth) {
      return done(Object.assign(new Error('Too many parts, or too deep'), { code: 'EMAXLEN' }));
    }
    mendNode(node);
    const { charset, disposition } = node;
    // ASCII and UTF-8 would pass by undecoded.
    node.charset = 'any';
    // Mail clients show such a part and offer it to be saved as well.
    const isShown =
      disposition === 'inline' && node.filename !== false && /^text\/(?:plain|html)$/.test(`${node.contentType}`);
    if (isShown) node.disposition = 'attachment';
    super.processChunk(node, done);
    node.charset = charset;
    node.disposition = disposition;
    if (this.curnode === false || this.curnode.isAttachment !== true) return;
    this.#bodies.push({ node, start: this.#bytes, end: this.#bytes, bytes: 0 });
    const attachment = this.attachmentList.at(-1);
    if (!isShown || attachment === undefined) return;
    this.#shown.set(this.curnode, []);
    attachment.contentDisposition = 'inline';
  }

  /** Keeps what MailParser does not. False for text that there is no room for. */
  #keep({ type, node, value }: SplitContent): boolean {
    const part = this.curnode;
    if (part === false || part.node !== node) return true;
    if (type === 'data') {
      if (part.children.length > 0) return true;
      if (!this.#hasRoom(part, value.length)) return false;
      keepIn(this.#strays, part, value);
    } else if (part.isAttachment !== true) return this.#hasRoom(part, value.length);
    else if (this.#shown.has(part) && this.#hasRoom(part, value.length)) keepIn(this.#shown, part, value);
    return true;
  }

  #locate(chunk: SplitChunk): void {
    // oxlint-disable-next-line no-underscore-dangle -- mailsplit's own name
    const length = chunk.type === 'node' ? chunk._headerlen : chunk.value.length;
    const span = this.#bodies.at(-1);
    if (chunk.type === 'body' && span && chunk.node === span.node) {
      if (span.bytes === 0) span.start = this.#bytes;
      span.bytes += length;
      span.end = this.#bytes + length;
    }
    this.#bytes += length;
  }

  #hasRoom(part: Part, bytes: number): boolean {
    // What is cut stays cut, or later chunks would be joined to the text before a gap.
    if (bytes > this.#textBytesLeft) this.#cut.add(part);
    if (this.#cut.has(part)) return false;
    this.#textBytesLeft -= bytes;
    return true;
  }
}

function keepIn(kept: WeakMap<Part, Buffer[]>, part: Part, value: Buffer): void {
  const values = kept.get(part);
  if (values === undefined) kept.set(part, [value]);
  else values.push(value);
}

function mendNode(node: SplitNode): void {
  // Scripts leave the subtype out (RFC 2045 §5.2 takes what is no type for text).
  if (node.contentType === 'text') node.contentType = 'text/plain';
  // RFC 2046 §5.1.5: what a digest is made of are messages, and need not say so.
  const isOfDigest = node.parentNode !== false && node.parentNode.multipart === 'digest';
  if (isOfDigest && node.headers.get('content-type').length === 0) node.contentType = 'message/rfc822';
  node.filename = decodeRawName(node);
}

/** A file name in raw bytes (against RFC 2183 §2) is in the charset of its part, if in any that is named. */
function decodeRawName({
  filename,
  charset,
  _parsedContentDisposition: disposition,
  _parsedContentType: type,
}: SplitNode): string | false {
  const [raw, field, name] = disposition.params['filename']
    ? [disposition.params['filename'], disposition, 'filename']
    : [type.params['name'], type, 'name'];
  const isRaw = raw !== undefined && raw === filename && !field.decodedParams.includes(name);
  // Bytes that are no UTF-8 are kept as characters of Latin-1.
  if (!isRaw || !/[\u0080-\u00FF]/.test(raw) || /[^\0-\u00FF]/.test(raw)) return filename;
  return decodeBytes(Buffer.from(raw, 'latin1'), charset === false ? null : charset);
}

/** Bytes from the beginning of the message. */
interface BodySpan {
  readonly node: SplitNode;
  start: number;
  end: number;
  bytes: number;
}

/** Those that are decoded; all others are left as they are. */
const ENCODINGS: ReadonlyMap<string, AttachmentSource['encoding']> = new Map([
  ['base64', 'base64'],
  ['quoted-printable', 'quoted-printable'],
]);

function decodeAtOnce(encoded: Buffer, encoding: string | false): Buffer {
  const known = ENCODINGS.get(encoding || '');
  if (known === undefined) return encoded;
  const text = encoded.toString('latin1');
  return known === 'base64' ? Buffer.from(text, 'base64') : libqp.decode(text);
}

/** All that a text part has, decoded in one piece. */
class CharsetStream extends Transform {
  readonly #decode: (bytes: Buffer) => string;
  readonly #chunks: Buffer[] = [];

  constructor(decode: (bytes: Buffer) => string) {
    super();
    this.#decode = decode;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#chunks.push(chunk);
    done();
  }

  override _flush(done: TransformCallback): void {
    done(null, Buffer.from(this.#decode(Buffer.concat(this.#chunks))));
  }
}

function listMultiparts(part: Part): string[] {
  if (part.children.length === 0) return [];
  const { value = '', params } = (part.headers.get('content-type') ?? {}) as {
    value?: string;
    params?: Record<string, string>;
  };
  const own = `${value}; protocol="${(params?.['protocol'] ?? '').replaceAll('"', '')}"`;
  return [own, ...part.children.flatMap(listMultiparts)];
}

function depthOf(node: SplitNode): number {
  let depth = 1;
  for (let parent = node.parentNode; parent !== false; parent = parent.parentNode) depth += 1;
  return depth;
}

/** Takes an attachment's content to its end; `ordinal` counts from 1 in document order. */
export type VisitAttachment = (attachment: AttachmentStream, ordinal: number) => Promise<void>;

/** Runs the whole of `source` through the parser. Rejects with the error of either; what was parsed until then stays. */
export async function runParser(parser: PartParser, source: Readable, visit: VisitAttachment): Promise<void> {
  let open: Readable | null = null;
  // The parser reads ahead: without this, one that fails while an attachment is open would leave it open for ever.
  parser.on('error', (error: Error) => open?.destroy(error));
  finished(source, { writable: false }).catch((error: Error) => parser.destroy(error));
  let ordinal = 0;
  try {
    for await (const item of source.pipe(parser) as AsyncIterable<AttachmentStream | MessageText>) {
      if (item.type !== 'attachment') continue;
      open = item.content;
      ordinal += 1;
      await visit(item, ordinal);
      item.release?.();
    }
  } finally {
    source.destroy();
  }
}
