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
import { MailParser } from 'mailparser';
import type { AttachmentStream, MessageText } from 'mailparser';
import { decodeText, type DecodedText } from './charset.ts';
import { headBytesMax, parseLimits, type ParseLimits } from './limits.ts';
import type { AttachmentSource } from './message.ts';

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

interface SplitNode {
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

type SplitChunk =
  | (SplitNode & { readonly type: 'node' })
  | { readonly type: 'body' | 'data'; readonly node: SplitNode; readonly value: Buffer };

interface MailParserInternals {
  readonly tree: Part | false;
  readonly curnode: Part | false;
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
  /** Of the part that begins. */
  #declared: string | false = false;
  readonly #strays = new WeakMap<Part, Buffer[]>();
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

  /** Whether a multipart says what separates its parts. */
  namesBoundary(part: Part): boolean {
    // oxlint-disable-next-line no-underscore-dangle -- mailsplit's own name
    return part.node._boundary !== false;
  }

  /** How the text of the part was decoded; null where it has none. */
  decodingOf(part: Part): DecodedText | null {
    return this.#decoded.get(part) ?? null;
  }

  /** MailParser decodes text in what is declared, on its way; here it is all looked at first. */
  override getDecoder(): { decodeStream(): Transform } {
    return {
      decodeStream: () => {
        const part = this.curnode as Part;
        const declared = this.#declared;
        return new CharsetStream((bytes) => {
          const decoded = decodeText(bytes, declared === false ? null : declared, part.contentType === 'text/html');
          this.#decoded.set(part, decoded);
          return decoded.text;
        });
      },
    };
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
   * Where the attachment of that ordinal stands in what came behind a prefix; null where that cannot be told.
   * @param bytesGiven all that the parser was given: what was counted must be as much, or it has kept some to itself.
   */
  sourceOf(ordinal: number, bytesGiven: number, prefixBytes: number): AttachmentSource | null {
    const span = this.#bodies[ordinal - 1];
    if (!span || this.#bytes !== bytesGiven || span.bytes !== span.end - span.start) return null;
    const encoding = ENCODINGS.get(span.node.encoding || '') ?? 'identity';
    return { offset: span.start - prefixBytes, length: span.bytes, encoding };
  }

  override processChunk(chunk: SplitChunk, done: (error?: Error) => void): void {
    this.#locate(chunk);
    if (chunk.type === 'node') {
      // MailParser makes text with String.replace, which V8 leaves as a rope of 32 bytes a line; reading flattens it.
      if (this.curnode !== false) this.curnode.textContent?.charCodeAt(0);
      this.#parts += 1;
      if (this.#parts > this.#limits.parts || depthOf(chunk) > this.#limits.partDepth) {
        return done(Object.assign(new Error('Too many parts, or too deep'), { code: 'EMAXLEN' }));
      }
    } else if (this.curnode !== false && this.curnode.node === chunk.node) {
      const isStray = chunk.type === 'data' && this.curnode.children.length === 0;
      const isText = chunk.type === 'body' && this.curnode.isAttachment !== true;
      if ((isStray || isText) && !this.#hasRoom(this.curnode, chunk.value.length)) return done();
      if (isStray) this.#keepStray(this.curnode, chunk.value);
    }
    if (chunk.type === 'node') {
      // Scripts leave the subtype out (RFC 2045 §5.2 takes what is no type for text).
      if (chunk.contentType === 'text') chunk.contentType = 'text/plain';
      this.#declared = chunk.charset;
      // ASCII and UTF-8 would pass by undecoded.
      chunk.charset = 'any';
    }
    super.processChunk(chunk, done);
    if (chunk.type === 'node') chunk.charset = this.#declared;
    if (chunk.type === 'node' && this.curnode !== false && this.curnode.isAttachment === true) {
      this.#bodies.push({ node: chunk, start: this.#bytes, end: this.#bytes, bytes: 0 });
    }
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

  #keepStray(part: Part, content: Buffer): void {
    const strays = this.#strays.get(part);
    if (strays === undefined) this.#strays.set(part, [content]);
    else strays.push(content);
  }
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
