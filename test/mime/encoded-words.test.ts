/** RFC 2047, in the ways that people break it. */
import fc from 'fast-check';
import iconv from 'iconv-lite';
import { describe, expect, test } from 'vitest';
import { repairWords } from '../../src/mime/encoded-words.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail } from './mail.ts';

const b64 = (text: string, charset = 'utf-8'): string => iconv.encode(text, charset).toString('base64');
const subjectOf = async (value: string): Promise<string | null> =>
  (await parseMessage(mail(`Subject: ${value}\n\nx`))).subject;

describe('an encoded word', () => {
  const [first, second] = [Buffer.from('Grüße').subarray(0, 3), Buffer.from('Grüße').subarray(3)];

  test.each([
    ['as it should be', '=?utf-8?Q?Gr=C3=BC=C3=9Fe?= aus =?utf-8?B?S8O2bG4=?=', 'Grüße aus Köln'],
    ['with neighbours', '=?utf-8?Q?Gr=C3=BC?= =?utf-8?Q?=C3=9Fe?=', 'Grüße'],
    ['over folded lines', '=?utf-8?Q?Gr=C3=BC?=\n =?utf-8?Q?=C3=9Fe?=', 'Grüße'],
    [
      'split within a character',
      `=?utf-8?B?${first.toString('base64')}?= =?utf-8?B?${second.toString('base64')}?=`,
      'Grüße',
    ],
    [
      'split within a character, in two encodings',
      `=?utf-8?B?${first.toString('base64')}?= =?utf-8?Q?=BC=C3=9Fe?=`,
      'Grüße',
    ],
    [
      'split within a character of Shift_JIS',
      (() => {
        const bytes = iconv.encode('表示', 'shift_jis');
        return `=?shift_jis?B?${bytes.subarray(0, 1).toString('base64')}?= =?shift_jis?B?${bytes.subarray(1).toString('base64')}?=`;
      })(),
      '表示',
    ],
    ['without a space to the next', '=?utf-8?Q?Gr=C3=BC?==?utf-8?Q?=C3=9Fe?=', 'Grüße'],
    ['without a space to other text', 'a=?utf-8?Q?=C3=BC?=b', 'aüb'],
    ['with spaces in it', '=?utf-8?Q?two words =C3=BC?=', 'two words ü'],
    ['with underscores', '=?utf-8?Q?two_words?=', 'two words'],
    ['with a question mark in it', '=?utf-8?Q?really??=', 'really?'],
    ['with lower-case hex and letter', '=?UTF-8?q?=c3=bc?=', 'ü'],
    ['with a damaged escape', '=?utf-8?Q?50=_off_=C3=BC?=', '50= off ü'],
    ['without padding', '=?utf-8?b?w7w?=', 'ü'],
    ['with white space in its base64', '=?utf-8?B?S8O2 bG4=?=', 'Köln'],
    ['with a language', '=?utf-8*de?Q?=C3=BC?=', 'ü'],
    ['in windows-1252 that is called latin1', '=?iso-8859-1?Q?=80_5_=96?=', '€ 5 –'],
    ['in UTF-8 that is called latin1', '=?iso-8859-1?Q?=C3=BC?=', 'ü'],
    ['in windows-1252 that is called UTF-8', '=?utf-8?Q?caf=E9_cr=E8me?=', 'café crème'],
    ['in GBK that is called gb2312', `=?gb2312?B?${b64('朱镕基', 'gbk')}?=`, '朱镕基'],
    ['in ISO-2022-JP', `=?ISO-2022-JP?B?${Buffer.from('\u001B$B4A;z\u001B(B').toString('base64')}?=`, '漢字'],
    [
      'in ISO-2022-JP, in several words that each end in ASCII',
      `=?ISO-2022-JP?B?${Buffer.from('\u001B$B4A\u001B(B').toString('base64')}?=\n =?ISO-2022-JP?B?${Buffer.from('\u001B$B;z\u001B(B').toString('base64')}?=`,
      '漢字',
    ],
    ['with a question mark and an escape behind it', '=?utf-8?Q?a?b=20c=C3=BC?=', 'a?b cü'],
    ['with padding in the middle of its base64', '=?utf-8?B?w7w==w7w=?=', 'üü'],
    ['that follows one without an end', '=?utf-8?Q?caf =?utf-8?Q?=C3=BC?=', '=?utf-8?Q?caf ü'],
    ['in ks_c_5601-1987', `=?ks_c_5601-1987?B?${b64('똠방각하', 'cp949')}?=`, '똠방각하'],
    ['in UTF-7', '=?utf-7?Q?+AOk-?=', 'é'],
    ['in a charset that nobody knows', '=?x-unknown?Q?=C3=BC?=', 'ü'],
    ['in two charsets side by side', `=?utf-8?Q?=C3=BC?= =?koi8-r?B?${b64('Привет', 'koi8-r')}?=`, 'üПривет'],
    ['that is empty', 'a =?utf-8?Q??= b', 'a  b'],
    ['that is none', 'a =? b ?= =?c?d?e?= ?=', 'a =? b ?= =?c?d?e?= ?='],
    ['with a line end in it', '=?utf-8?Q?a=0D=0ABcc:_b?=', 'a Bcc: b'],
  ])('%s', async (_, value, expected) => {
    expect(await subjectOf(value)).toBe(expected);
  });

  test('names addresses: in quotes, beside them, in comments, with what would part addresses', async () => {
    const from = async (value: string) => (await parseMessage(mail(`To: ${value}\n\nx`))).to;
    const one = (name: string | null) => [{ name, address: 'a@example.com', group: null }];
    expect(await from('"=?utf-8?Q?J=C3=B6rg?=" <a@example.com>')).toEqual(one('Jörg'));
    expect(await from('=?utf-8?Q?J=C3=B6rg?= =?utf-8?Q?_M?= <a@example.com>')).toEqual(one('Jörg M'));
    expect(await from('a@example.com (=?utf-8?Q?J=C3=B6rg?=)')).toEqual(one('Jörg'));
    expect(await from('=?utf-8?Q?M=2C_J=C3=B6rg?= <a@example.com>')).toEqual(one('M, Jörg'));
    expect(await from('=?utf-8?Q?a@evil.example=3E?= <a@example.com>')).toEqual(one('a@evil.example>'));
  });

  test('makes of any text a text, whatever is broken', () => {
    const piece = fc.oneof(
      fc.string({ maxLength: 10 }),
      fc.constantFrom('=?', '?=', '?Q?', '?B?', 'utf-8', '=C3', '=', '?', ' '),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        expect(repairWords(pieces.join(''))).not.toMatch(/[\r\n]/.test(pieces.join('')) ? /\0never/ : /[\r\n]/);
      }),
      { numRuns: 1000 },
    );
  });

  test('takes bounded time, however many there are and however they begin', () => {
    for (const text of [
      '=?utf-8?Q?a?= '.repeat(20_000),
      '=?'.repeat(100_000),
      '=?utf-8?Q?'.repeat(20_000),
      `=?utf-8?Q?${'?'.repeat(200_000)}`,
      '=?a?q?=41?= =?b?q?=41?= '.repeat(20_000),
      `=?utf-8?Q?${'=?a'.repeat(80_000)}`,
      `=?utf-8?Q?${'=41?'.repeat(80_000)}`,
    ]) {
      expect(repairWords(text).length).toBeGreaterThan(0);
    }
  }, 60_000);
});
