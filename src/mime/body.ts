/**
 * One text and one HTML out of a message's many parts.
 *
 * The HTML is what the message has, joined and otherwise untouched. The text has the words of every part: its text, and
 * what its HTML says where no text alternative does. Nothing is sanitised here.
 */
import { convertHtml } from './html-text.ts';
import {
  attachmentFieldCharsMax,
  charsetsMax,
  htmlCharsMax,
  htmlToTextCharsMax,
  snippetCharsMax,
  textCharsMax,
} from './limits.ts';
import type { CharsetFacts, ParsedMessage, Warn } from './message.ts';
import type { Part, PartParser } from './part-parser.ts';
import { stripReply } from './reply.ts';
import { clean, decodeBytes } from './text.ts';

type Body = Pick<
  ParsedMessage,
  | 'text'
  | 'html'
  | 'charsets'
  | 'strippedReply'
  | 'strippedReplyTruncated'
  | 'textTruncated'
  | 'htmlTruncated'
  | 'snippet'
>;

interface Passage {
  readonly kind: 'plain' | 'html';
  readonly content: string;
  /** Whether the parser left some of it out. */
  readonly isCut: boolean;
}

/** Characters of text in which the snippet's are looked for: the beginning of a newsletter is mostly white space. */
const SNIPPET_SOURCE_CHARS = 4096;
const KNOWN_ENCODINGS = new Set(['7bit', '8bit', 'binary', 'base64', 'quoted-printable']);

export function readBody(parser: PartParser, warn: Warn): Body {
  const { spoken, html } = parser.tree === false ? NOTHING : readPart(parser.tree, parser, warn);
  const joinedHtml = join(html, htmlCharsMax);
  const joinedText = join(speak(spoken, warn), textCharsMax);
  if (joinedText.cut) warn('text_truncated', `Text beyond the first ${textCharsMax} characters is left out.`);
  if (joinedHtml.cut) warn('html_truncated', `HTML beyond the first ${htmlCharsMax} characters is left out.`);
  const reply = joinedText.text === '' ? null : stripReply(joinedText.text);
  const charsets = parser.tree === false ? [] : listCharsets(parser.tree, parser);
  return {
    charsets: charsets.slice(0, charsetsMax),
    text: joinedText.text === '' ? null : joinedText.text,
    html: joinedHtml.text === '' ? null : joinedHtml.text,
    strippedReply: reply && reply.text,
    strippedReplyTruncated: reply?.cut ?? false,
    textTruncated: joinedText.cut,
    htmlTruncated: joinedHtml.cut,
    snippet: summarize(joinedText.text),
  };
}

/** `spoken` is what the text is made of, `html` what the HTML is; a passage of HTML may be in both. */
interface Passages {
  readonly spoken: readonly Passage[];
  readonly html: readonly Passage[];
}
const NOTHING: Passages = { spoken: [], html: [] };

function readPart(part: Part, parser: PartParser, warn: Warn): Passages {
  const type = part.contentType === false ? '' : part.contentType;
  if (part.children.length > 0) {
    const inner = part.children.map((child) => readPart(child, parser, warn));
    const spoken = inner.flatMap((passages) => passages.spoken);
    const html = inner.flatMap((passages) => passages.html);
    const plain = spoken.filter((passage) => passage.kind === 'plain');
    // Some mailers send an empty text beside their HTML.
    const hasText = plain.some((passage) => passage.content.trim() !== '');
    return { spoken: type === 'multipart/alternative' && hasText ? plain : spoken, html };
  }
  if (type.startsWith('multipart/')) {
    const boundary = parser.boundaryOf(part);
    const lines = decodeBytes(parser.strayContent(part)).replaceAll('\r\n', '\n').split('\n');
    // One that has no parts is ended by its boundary all the same.
    const content = lines.filter((line) => boundary === null || line.trimEnd() !== `--${boundary}--`).join('\n');
    if (content.trim() === '') return NOTHING;
    const [code, fault] =
      boundary === null
        ? (['boundary_missing', 'names no boundary'] as const)
        : (['boundary_unseen', 'has a boundary that never appears'] as const);
    warn(code, `A multipart ${fault}: its content is taken as text.`);
    return { spoken: [{ kind: 'plain', content, isCut: parser.isCut(part) }], html: [] };
  }
  warnOfEncoding(part, parser, warn);
  const content = parser.textOf(part);
  if (content === null) return NOTHING;
  const kind = type === 'text/html' ? 'html' : 'plain';
  const passage: Passage = { kind, content, isCut: parser.isCut(part) };
  return { spoken: [passage], html: kind === 'html' ? [passage] : [] };
}

function listCharsets(part: Part, parser: PartParser): CharsetFacts[] {
  const decoded = parser.decodingOf(part);
  const inner = part.children.flatMap((child) => listCharsets(child, parser));
  if (decoded === null) return inner;
  const numbers = (part.node.partNr ?? []).filter((number) => typeof number === 'number');
  const { charset } = part.node;
  const declared = charset === false ? null : clean(charset, attachmentFieldCharsMax).text;
  const { used, replaced } = decoded;
  return [{ part: numbers.join('.') || '1', declared, used, replaced }, ...inner];
}

function warnOfEncoding(part: Part, parser: PartParser, warn: Warn): void {
  const { charset, encoding } = part.node;
  if (encoding !== false && encoding !== '' && !KNOWN_ENCODINGS.has(encoding)) {
    warn(
      'encoding_unsupported',
      `The transfer encoding ${quote(encoding)} of a part is not known: it is left encoded.`,
    );
  }
  const decoded = parser.decodingOf(part);
  if (decoded !== null && charset !== false && !decoded.isKnown) {
    warn('charset_unsupported', `The charset ${quote(charset)} of a part is not known: it is read as ${decoded.used}.`);
  }
}

function quote(name: string): string {
  return JSON.stringify(clean(name, 40).text);
}

/** Each passage as text. */
function* speak(passages: readonly Passage[], warn: Warn): Generator<Passage> {
  let htmlCharsLeft = htmlToTextCharsMax;
  for (const passage of passages) {
    if (passage.kind === 'plain') {
      yield passage;
      continue;
    }
    const html = passage.content.slice(0, htmlCharsLeft);
    htmlCharsLeft -= html.length;
    const text = convertHtml(html);
    if (text === null) warn('html_not_converted', 'HTML is too deeply nested to be turned into text.');
    const isCut = passage.isCut || html.length < passage.content.length;
    yield { kind: 'plain', content: text ?? '', isCut };
  }
}

function join(passages: Iterable<Passage>, charsMax: number): { text: string; cut: boolean } {
  let joined = '';
  let isCut = false;
  for (const { content, ...passage } of passages) {
    joined += joined === '' || content === '' ? content : `\n${content}`;
    isCut ||= passage.isCut;
    if (joined.length > charsMax) break;
  }
  const { text, cut } = clean(joined, charsMax);
  return { text, cut: cut || isCut };
}

function summarize(text: string): string {
  const folded = text
    .slice(0, SNIPPET_SOURCE_CHARS)
    .replaceAll(/[\s\u200B-\u200D\uFEFF]+/g, ' ')
    .trim();
  return clean(folded, snippetCharsMax).text.trimEnd();
}
