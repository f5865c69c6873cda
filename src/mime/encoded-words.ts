/**
 * Encoded words of RFC 2047, in the ways that people break them: made into words that every decoder reads alike. It decodes their
 * bytes as `charset.ts` does and writes them anew, in UTF-8; what is around them, and how a field is taken apart, is not its
 * business.
 *
 * Words that follow each other are one text (§6.2), which mailers take literally: they split it within a character. So the bytes of
 * neighbours in one charset are put together before they are decoded.
 */
import { decodeText } from './charset.ts';

/**
 * The language of RFC 2231 §5 is left out. White space in a `Q` word is against the rules, and common; and so are question marks. A
 * word that does not end takes in none that begins after it.
 */
const START = String.raw`=\?([\w.:+-]{1,40})(?:\*[\w-]{0,40})?\?([bq])\?`;
const NO_START = String.raw`(?!\?[\w.:+-]{1,40}(?:\*[\w-]{0,40})?\?[bq]\?)`;
const WORD = new RegExp(String.raw`${START}([^?=]*(?:(?:=${NO_START}|\?(?!=))[^?=]*)*)\?=`, 'gi');

interface Word {
  readonly charset: string;
  readonly encoding: 'b' | 'q';
  readonly bytes: Buffer;
}

/** The same field, with words that are well formed. */
export function repairWords(value: string): string {
  if (!value.includes('=?')) return value;
  let repaired = '';
  let run: Word[] = [];
  let end = 0;
  for (const match of value.matchAll(WORD)) {
    const [written, charset = '', encoding = '', text = ''] = match;
    const between = value.slice(end, match.index);
    // White space between two words is none of the text.
    if (run.length > 0 && between.trim() !== '') {
      repaired += writeRun(run) + between;
      run = [];
    } else if (run.length === 0) {
      repaired += between;
    }
    run.push({ charset: charset.toLowerCase(), ...readBytes(encoding, text) });
    end = match.index + written.length;
  }
  return repaired + writeRun(run) + value.slice(end);
}

function readBytes(encoding: string, text: string): Pick<Word, 'encoding' | 'bytes'> {
  if (encoding.toLowerCase() === 'b') return { encoding: 'b', bytes: readBase64(text) };
  const parts: Buffer[] = [];
  for (const [part] of text.replaceAll('_', ' ').matchAll(/=[0-9a-f]{2}|[^=]+|=/gi)) {
    parts.push(part.length === 3 && part.startsWith('=') ? Buffer.from(part.slice(1), 'hex') : Buffer.from(part));
  }
  return { encoding: 'q', bytes: Buffer.concat(parts) };
}

/** Padding ends a text, and another may follow: some encode line by line. */
function readBase64(text: string): Buffer {
  const texts = text.replaceAll(/[^A-Za-z0-9+/=]/g, '').match(/[^=]+/g) ?? [];
  return Buffer.concat(texts.map((one) => Buffer.from(one, 'base64')));
}

/** Neighbours in one charset are one text. */
function writeRun(run: readonly Word[]): string {
  let text = '';
  let same: Word[] = [];
  for (const [at, word] of run.entries()) {
    same.push(word);
    if (run[at + 1]?.charset === word.charset) continue;
    text += decodeText(Buffer.concat(same.map(({ bytes }) => bytes)), word.charset).text;
    same = [];
  }
  // A line end within a word would become one of the field.
  return text === '' ? '' : `=?UTF-8?B?${Buffer.from(text.replaceAll(/[\r\n]+/g, ' ')).toString('base64')}?=`;
}
