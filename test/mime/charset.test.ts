/** No mojibake where a mainstream mail client shows none. */
import fc from 'fast-check';
import iconv from 'iconv-lite';
import { describe, expect, test } from 'vitest';
import { decodeText } from '../../src/mime/charset.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail, multipart } from './mail.ts';

const bytes = (text: string, charset: string): Buffer => iconv.encode(text, charset);
const latin = (text: string): Buffer => Buffer.from(text, 'latin1');
const body = (declared: string | null, content: Buffer, type = 'text/plain'): Buffer =>
  Buffer.concat([
    latin(
      `Content-Type: ${type}${declared === null ? '' : `; charset=${declared}`}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n`,
    ),
    content,
  ]);
const RUSSIAN = 'Здравствуйте! Ваш заказ отправлен и скоро будет доставлен. Спасибо за покупку.';
const CHINESE = '您好，您的訂單已經寄出，請查收。謝謝您的支持與信任，祝您生活愉快。';
const SIMPLIFIED = '您好，您的订单已经寄出，请查收。谢谢您的支持与信任，祝您生活愉快。';
const JAPANESE = 'こんにちは。ご注文の商品を発送しました。ご確認ください。';
const KOREAN = '안녕하세요. 주문하신 상품이 발송되었습니다. 확인해 주세요.';
/** "漢字" in ISO-2022-JP. */
const KANJI = latin('\u001B$B4A;z\u001B(B');

describe('text in a charset', () => {
  test.each<[what: string, declared: string | null, content: Buffer, text: string, used: string]>([
    [
      'windows-1252 that is called latin1',
      'iso-8859-1',
      latin('\u0093quoted\u0094 \u0080 5'),
      '“quoted” € 5',
      'windows-1252',
    ],
    ['windows-1252 that is called ASCII', 'us-ascii', latin('caf\u00E9 \u0096 1'), 'café – 1', 'windows-1252'],
    ['GBK that is called gb2312', 'gb2312', bytes('朱镕基', 'gbk'), '朱镕基', 'gbk'],
    ['GB18030', 'gb18030', bytes('𠀀€', 'gb18030'), '𠀀€', 'gb18030'],
    ['Big5', 'big5', bytes(CHINESE, 'big5'), CHINESE, 'big5'],
    [
      'the Windows superset that is called ks_c_5601-1987',
      'ks_c_5601-1987',
      bytes('똠방각하', 'cp949'),
      '똠방각하',
      'euc-kr',
    ],
    ['the Windows superset of Shift_JIS', 'shift_jis', bytes('①髙﨑', 'cp932'), '①髙﨑', 'shift_jis'],
    ['Shift_JIS by its Windows name', 'cp932', bytes(JAPANESE, 'cp932'), JAPANESE, 'shift_jis'],
    ['EUC-JP', 'euc-jp', bytes(JAPANESE, 'euc-jp'), JAPANESE, 'euc-jp'],
    ['ISO-2022-JP', 'iso-2022-jp', KANJI, '漢字', 'iso-2022-jp'],
    ['ISO-2022-JP without a label', null, KANJI, '漢字', 'iso-2022-jp'],
    ['ISO-2022-JP that is called ASCII', 'us-ascii', KANJI, '漢字', 'iso-2022-jp'],
    ['ISO-2022-JP that is called UTF-8', 'utf-8', KANJI, '漢字', 'iso-2022-jp'],
    ['ISO-2022-JP of several pieces', 'iso-2022-jp', Buffer.concat([KANJI, KANJI]), '漢字漢字', 'iso-2022-jp'],
    ['ISO-2022-JP by its Windows name', 'cp50220', KANJI, '漢字', 'iso-2022-jp'],
    ['EUC-JP by its Windows name', 'eucJP-ms', latin('\u00AD\u00A1'), '①', 'euc-jp'],
    ['GBK by the name of its form', 'EUC-CN', bytes('朱镕基', 'gbk'), '朱镕基', 'gbk'],
    ['bytes of a charset that is none', 'x-user-defined', latin('\u00E9'), 'é', 'windows-1252'],
    ['KOI8-R', 'koi8-r', bytes(RUSSIAN, 'koi8-r'), RUSSIAN, 'koi8-r'],
    ['windows-1251 under a made-up name', 'win-1251', bytes(RUSSIAN, 'windows-1251'), RUSSIAN, 'windows-1251'],
    ['a code page of DOS', 'cp-850', bytes('Grüße', 'cp850'), 'Grüße', 'cp850'],
    ['UTF-7', 'utf-7', latin('Hi Mom +Jjo-!'), 'Hi Mom ☺!', 'utf-7'],
    ['UTF-7 by its old name', 'unicode-1-1-utf-7', latin('+AOk-'), 'é', 'utf-7'],
    ['UTF-8 in quotes and capitals', '"UTF8"', Buffer.from('é€😀'), 'é€😀', 'utf-8'],
    ['UTF-8 that is called latin1', 'iso-8859-1', Buffer.from('für 5 €'), 'für 5 €', 'utf-8'],
    ['UTF-8 that is called ASCII', 'us-ascii', Buffer.from('naïve'), 'naïve', 'utf-8'],
    ['UTF-8 without a label', null, Buffer.from('naïve'), 'naïve', 'utf-8'],
    ['UTF-8 under a name that nobody knows', 'x-unknown', Buffer.from('naïve'), 'naïve', 'utf-8'],
    ['windows-1252 that is called UTF-8', 'utf-8', latin('caf\u00E9 cr\u00E8me'), 'café crème', 'windows-1252'],
    ['windows-1252 without a label', null, latin('caf\u00E9 \u0096 1'), 'café – 1', 'windows-1252'],
    ['windows-1252 under a name that nobody knows', 'x-user-defined-1', latin('\u00E9'), 'é', 'windows-1252'],
    ['KOI8-R without a label', null, bytes(RUSSIAN, 'koi8-r'), RUSSIAN, 'koi8-r'],
    ['windows-1251 that is called UTF-8', 'utf-8', bytes(RUSSIAN, 'windows-1251'), RUSSIAN, 'windows-1251'],
    ['GBK without a label', null, bytes(SIMPLIFIED, 'gbk'), SIMPLIFIED, 'gb18030'],
    ['Shift_JIS without a label', null, bytes(JAPANESE, 'shift_jis'), JAPANESE, 'shift_jis'],
    ['EUC-KR without a label', null, bytes(KOREAN, 'euc-kr'), KOREAN, 'euc-kr'],
    [
      'UTF-16 with its mark',
      'utf-16',
      Buffer.concat([Buffer.from([0xfe, 0xff]), bytes('é€', 'utf-16be')]),
      'é€',
      'utf-16be',
    ],
    [
      'UTF-16 with its mark, and no label',
      null,
      Buffer.concat([Buffer.from([0xff, 0xfe]), bytes('é€', 'utf-16le')]),
      'é€',
      'utf-16le',
    ],
    ['UTF-8 with a mark, which is no text', 'iso-8859-1', Buffer.from('\uFEFFé'), 'é', 'utf-8'],
    ['GBK that would be UTF-8 by chance', 'gbk', bytes('联通', 'gbk'), '联通', 'gbk'],
    ['ASCII', 'us-ascii', latin('plain'), 'plain', 'windows-1252'],
    ['ASCII without a label', null, latin('plain'), 'plain', 'utf-8'],
  ])('%s', async (_, declared, content, text, used) => {
    const message = await parseMessage(body(declared, content));
    expect(message.text).toBe(text);
    expect(message.charsets).toEqual([
      { part: '1', declared: declared?.replaceAll('"', '') ?? null, used, replaced: 0 },
    ]);
  });

  test.each([
    ['charset', '<html><head><meta charset="windows-1251"></head><body>', ''],
    ['http-equiv', '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', ''],
  ])('is read as the HTML says in its meta %s, where the part declares none', async (_, head) => {
    const html = Buffer.concat([latin(head), bytes('Привет', 'windows-1251')]);
    const message = await parseMessage(body(null, html, 'text/html'));
    expect(message.html).toBe(`${head}Привет`);
    expect(message.charsets).toMatchObject([{ declared: null, used: 'windows-1251' }]);
    // What the part declares counts before it.
    expect((await parseMessage(body('koi8-r', html, 'text/html'))).charsets).toMatchObject([{ used: 'koi8-r' }]);
  });

  test('that cannot be read is replaced, and counted; a replacement that was written is not', async () => {
    const message = await parseMessage(
      body('utf-8', Buffer.concat([Buffer.from('äöü äöü äöü \uFFFD'), Buffer.from([0xc3])])),
    );
    expect(message.text).toBe('äöü äöü äöü \uFFFD\uFFFD');
    expect(message.charsets).toMatchObject([{ used: 'utf-8', replaced: 1 }]);
    expect(decodeText(Buffer.from([0x81, 0x20, 0x41]), 'shift_jis')).toMatchObject({ replaced: 1 });
  });

  test('stays UTF-8 where it is only cut off within a character', () => {
    expect(decodeText(Buffer.from('été').subarray(0, -1), 'utf-8')).toMatchObject({ text: 'ét\uFFFD', replaced: 1 });
  });

  test('under a name that nobody knows is warned of', async () => {
    const message = await parseMessage(body('x-klingon', Buffer.from('é')));
    expect(message.parse.warnings).toMatchObject([{ code: 'charset_unsupported' }]);
  });

  test('is told of each part, as the parts are numbered', async () => {
    const message = await parseMessage(
      multipart(
        'mixed',
        'Content-Type: text/plain; charset=koi8-r\n\nx',
        'Content-Type: multipart/alternative; boundary=c\n\n--c\nContent-Type: text/plain\n\ny\n--c\nContent-Type: text/html; charset=utf-8\n\nz\n--c--\n',
        'Content-Type: text/plain; charset=utf-8\nContent-Disposition: attachment\n\nnot this one',
      ),
    );
    expect(message.charsets.map(({ part, declared }) => [part, declared])).toEqual([
      ['1', 'koi8-r'],
      ['2.1', null],
      ['2.2', 'utf-8'],
    ]);
  });

  test('survives any bytes and any name', () => {
    const name = fc.oneof(
      fc.constant(null),
      fc.string({ maxLength: 20 }),
      fc.constantFrom('utf-7', 'gbk', 'utf-16', 'iso-2022-jp', '__proto__', 'hex'),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), name, fc.boolean(), (content, declared, isHtml) => {
        const { text, used, replaced } = decodeText(content, declared, isHtml);
        expect(typeof text).toBe('string');
        expect(used).not.toBe('');
        expect(replaced).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('header fields in raw bytes', () => {
  const subject = (value: Buffer, more = ''): Buffer =>
    Buffer.concat([latin(`${more}Subject: `), value, latin('\r\n\r\nx')]);

  test.each<[what: string, raw: Buffer, expected: string]>([
    ['UTF-8', subject(Buffer.from('Grüße 😀')), 'Grüße 😀'],
    ['windows-1252', subject(latin('Gr\u00FC\u00DFe')), 'Grüße'],
    [
      'the charset of the body',
      subject(bytes('Привет', 'koi8-r'), 'Content-Type: text/plain;\r\n charset="koi8-r"\r\n'),
      'Привет',
    ],
    [
      'UTF-8, whatever the body is in',
      subject(Buffer.from('Привет'), 'Content-Type: text/plain; charset=koi8-r\r\n'),
      'Привет',
    ],
    ['ISO-2022-JP', subject(KANJI), '漢字'],
    ['GBK that is long enough to be known', subject(bytes(SIMPLIFIED, 'gbk')), SIMPLIFIED],
  ])('%s', async (_, raw, expected) => {
    expect((await parseMessage(raw)).subject).toBe(expected);
  });

  test('name addresses, too', async () => {
    const raw = Buffer.concat([latin('From: "J\u00F6rg" <j@example.com>\r\n\r\nx')]);
    expect((await parseMessage(raw)).from).toEqual([{ name: 'Jörg', address: 'j@example.com', group: null }]);
  });
});

test('the values of header fields can be looked up by name, any name', async () => {
  const { toPublicMessage } = await import('../../src/mime/public-message.ts');
  const message = await parseMessage(
    mail('Received: a\nSubject: x\n__proto__: evil\nRECEIVED: b\nconstructor: c\n\nx'),
  );
  const { headersByName } = toPublicMessage(message);
  expect(Object.keys(headersByName)).toEqual(['received', 'subject', '__proto__', 'constructor']);
  expect(headersByName['received']).toEqual(['a', 'b']);
  expect(JSON.stringify(headersByName)).toContain('"__proto__":["evil"]');
});

test('messages without a header section have ids of their own, and each the same every time', async () => {
  const idOf = async (text: string): Promise<string> => (await parseMessage(latin(text))).messageId;
  expect(await idOf('just words\r\n')).toBe(await idOf('just words\r\n'));
  expect(await idOf('just words\r\n')).not.toBe(await idOf('other words\r\n'));
});
