/**
 * Encoded words of RFC 2047, in the ways that people break them: made into words that every decoder reads alike. It decodes their
 * bytes as `charset.ts` does and writes them anew, in UTF-8; what is around them, and how a field is taken apart, is not its
 * business.
 *
 * Words that follow each other are one text (§6.2), which mailers take literally: they split it within a character. So the bytes of
 * neighbours in one charset are put together before they are decoded.
 */
import { decodeText } from './charset.ts';

/** The language of RFC 2231 §5 is left out. White space in a `Q` word is against the rules, and common. */
const WORD = /=\?([\w.:+-]{1,40})(?:\*[\w-]{0,40})?\?([bq])\?([^?]*(?:\?(?!=)[^?=]*)*)\?=/gi;

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
  if (encoding.toLowerCase() === 'b')
    return { encoding: 'b', bytes: Buffer.from(text.replaceAll(/[^A-Za-z0-9+/]/g, ''), 'base64') };
  const parts: Buffer[] = [];
  for (const [part] of text.replaceAll('_', ' ').matchAll(/=[0-9a-f]{2}|[^=]+|=/gi)) {
    parts.push(part.length === 3 && part.startsWith('=') ? Buffer.from(part.slice(1), 'hex') : Buffer.from(part));
  }
  return { encoding: 'q', bytes: Buffer.concat(parts) };
}

/** Neighbours in one charset are one text. */
function writeRun(run: readonly Word[]): string {
  let text = '';
  for (let at = 0; at < run.length;) {
    const { charset } = run[at] as Word;
    const same = run.slice(at).findIndex((word) => word.charset !== charset);
    const upTo = same === -1 ? run.length : at + same;
    text += decodeText(Buffer.concat(run.slice(at, upTo).map(({ bytes }) => bytes)), charset).text;
    at = upTo;
  }
  // A line end within a word would become one of the field.
  return text === '' ? '' : `=?UTF-8?B?${Buffer.from(text.replaceAll(/[\r\n]+/g, ' ')).toString('base64')}?=`;
}
