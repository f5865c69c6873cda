import { describe, expect, test } from 'vitest';
import {
  addressesMax,
  attachmentFieldCharsMax,
  attachmentsMax,
  headBytesMax,
  headerBytesMax,
  headerFieldsMax,
  htmlCharsMax,
  htmlDepthMax,
  htmlToTextCharsMax,
  partDepthMax,
  partsMax,
  referencesMax,
  snippetCharsMax,
  textBytesMax,
  textCharsMax,
} from '../../src/mime/limits.ts';
import type { ParsedMessage } from '../../src/mime/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail, multipart } from './mail.ts';

const codes = ({ parse }: ParsedMessage): string[] => parse.warnings.map((warning) => warning.code);

/** Nested multiparts down to one text, `levels` in all. */
function nest(levels: number): Buffer {
  const opened = Array.from(
    { length: levels - 1 },
    (_, level) => `Content-Type: multipart/mixed; boundary=b${level}\n\n--b${level}\n`,
  );
  return mail('Subject: deep\n', ...opened, 'Content-Type: text/plain\n\nat the bottom');
}

describe('text and HTML', () => {
  test('text is cut at its bound, and a character is not cut in two', async () => {
    const whole = await parseMessage(mail('Subject: x\n\n', 'a'.repeat(textCharsMax)));
    expect(whole).toMatchObject({ textTruncated: false, parse: { status: 'ok' } });
    const emoji = Buffer.from('📬'.repeat(10));
    const cut = await parseMessage(
      mail('Content-Type: text/plain; charset=utf-8\n\n', 'a'.repeat(textCharsMax - 1), emoji),
    );
    expect(cut.text).toBe('a'.repeat(textCharsMax - 1));
    expect(cut).toMatchObject({ textTruncated: true, htmlTruncated: false });
    expect(codes(cut)).toEqual(['text_truncated']);
  });

  test('HTML is cut at its bound, and the text made of it is too', async () => {
    const message = await parseMessage(mail('Content-Type: text/html\n\n', 'word '.repeat(htmlCharsMax / 5 + 1)));
    expect(message.html).toHaveLength(htmlCharsMax);
    expect(message.text?.length).toBeLessThanOrEqual(htmlToTextCharsMax);
    expect(message).toMatchObject({ textTruncated: true, htmlTruncated: true });
    expect(codes(message).toSorted()).toEqual(['html_truncated', 'text_truncated']);
  });

  test('text that shrinks when it is decoded is bounded by its encoded bytes', async () => {
    const soft = '=\n'.repeat(textBytesMax);
    const message = await parseMessage(mail(`Content-Transfer-Encoding: quoted-printable\n\nseen${soft}unseen`));
    expect(message).toMatchObject({ text: 'seen', textTruncated: true });
  });

  test('many text parts share one bound', async () => {
    const part = mail('\n', 'a'.repeat(textBytesMax / 8));
    const message = await parseMessage(multipart('mixed', ...Array.from({ length: 16 }, () => part)));
    expect(message.text).toHaveLength(textCharsMax);
    expect(message.textTruncated).toBe(true);
  });

  test('what stands in a multipart without parts is bounded as text', async () => {
    const message = await parseMessage(mail('Content-Type: multipart/mixed\n\n', 'a line\n'.repeat(1_000_000)));
    expect(message.text).toHaveLength(textCharsMax);
    expect(message.textTruncated).toBe(true);
  });

  test('HTML nested too deep is not turned into text', async () => {
    const html = '<div>'.repeat(htmlDepthMax + 1);
    const message = await parseMessage(mail(`Content-Type: text/html\n\n${html}`));
    expect(message).toMatchObject({ html, text: null });
    expect(codes(message)).toEqual(['html_not_converted']);
    const flat = await parseMessage(mail('Content-Type: text/html\n\n', '<br><p>x'.repeat(htmlDepthMax * 2)));
    expect(codes(flat)).toEqual([]);
  });

  test('the snippet is short and on one line', async () => {
    const message = await parseMessage(mail('Subject: x\n\n', ' two\nwords \t'.repeat(1000)));
    expect(message.snippet).toMatch(/^two words two words/);
    expect(message.snippet.length).toBeGreaterThan(snippetCharsMax - 10);
    expect(message.snippet.length).toBeLessThanOrEqual(snippetCharsMax);
  });
});

describe('the header section', () => {
  test('lists a bounded number of fields, and the text is still read', async () => {
    const message = await parseMessage(mail('X: y\n'.repeat(headerFieldsMax + 1), '\nwords'));
    expect(message.headers).toHaveLength(headerFieldsMax);
    expect(message.text).toBe('words');
    expect(codes(message)).toEqual(['headers_truncated']);
  });

  test('lists a bounded number of bytes, and the text is still read', async () => {
    const message = await parseMessage(mail('Subject: x\nX: ', 'a'.repeat(headerBytesMax), '\n\nwords'));
    expect(JSON.stringify(message.headers).length).toBeLessThan(headerBytesMax + 1000);
    expect(message).toMatchObject({ subject: 'x', text: 'words' });
    expect(codes(message)).toEqual(['headers_truncated']);
  });

  test('beyond its bound is all that is read', async () => {
    const message = await parseMessage(mail('Subject: x\nX: ', 'a'.repeat(headBytesMax), '\n\nwords'));
    expect(message).toMatchObject({ subject: 'x', text: null, parse: { status: 'failed' } });
    expect(codes(message)).toEqual(['headers_truncated', 'parts_truncated']);
  });

  test('lists a bounded number of addresses and references', async () => {
    const message = await parseMessage(
      mail('To: ', 'a@b, '.repeat(addressesMax + 1), '\nReferences: ', '<a@b> '.repeat(referencesMax + 1), '\n\nx'),
    );
    expect(message.to).toHaveLength(addressesMax);
    expect(message.references).toHaveLength(referencesMax);
    expect(codes(message).toSorted()).toEqual(['addresses_truncated', 'references_truncated']);
  });
});

describe('parts', () => {
  test('nest to a bounded depth', async () => {
    expect(await parseMessage(nest(partDepthMax))).toMatchObject({ text: 'at the bottom', parse: { status: 'ok' } });
    const deeper = await parseMessage(nest(partDepthMax + 1));
    expect(deeper).toMatchObject({ subject: 'deep', text: null, parse: { status: 'failed' } });
    expect(codes(deeper)).toEqual(['parts_truncated']);
  });

  test('are bounded in number, and those before the bound are read', async () => {
    const message = await parseMessage(
      multipart('mixed', '\nwords', ...Array.from({ length: partsMax }, () => '\nmore')),
    );
    expect(message.text?.startsWith('words\nmore')).toBe(true);
    expect(message.parse.status).toBe('partial');
    expect(codes(message)).toEqual(['parts_truncated']);
  });

  test('by the million are refused early', async () => {
    const message = await parseMessage(multipart('mixed', mail('--b\n\n'.repeat(1_000_000))));
    expect(codes(message)).toEqual(['parts_truncated']);
  });

  test('that are attachments are listed up to a bound', async () => {
    const part = 'Content-Type: application/pdf\n\nx';
    const message = await parseMessage(multipart('mixed', ...Array.from({ length: attachmentsMax + 1 }, () => part)));
    expect(message.attachments).toHaveLength(attachmentsMax);
    expect(message.attachments.at(-1)?.id).toBe(`att_${attachmentsMax}`);
    expect(codes(message)).toEqual(['attachments_truncated']);
  });

  test('have bounded names', async () => {
    const long = 'n'.repeat(100_000);
    const message = await parseMessage(
      mail(
        `Content-Type: application/${long}\nContent-ID: <${long}>\nContent-Disposition: attachment; filename=${long}\n\nx`,
      ),
    );
    expect(message.attachments[0]).toMatchObject({
      filename: 'n'.repeat(attachmentFieldCharsMax),
      contentId: 'n'.repeat(attachmentFieldCharsMax),
      contentType: 'application/octet-stream',
    });
  });
});

describe('bounds that are set', () => {
  const set = { headerFields: 5, headerBytes: 2000, addresses: 2, parts: 4, partDepth: 3, textBytes: 100 };

  test.each<[what: string, raw: Buffer, code: string, check: (message: ParsedMessage) => void]>([
    [
      'header fields',
      mail('X: y\n'.repeat(6), '\nx'),
      'headers_truncated',
      ({ headers }) => expect(headers).toHaveLength(5),
    ],
    [
      'bytes of the header section',
      mail('Subject: x\nX: ', 'a'.repeat(3000), '\n\nx'),
      'headers_truncated',
      ({ headers }) => expect(JSON.stringify(headers).length).toBeLessThan(2200),
    ],
    ['addresses', mail('To: a@x, b@x, c@x\n\nx'), 'addresses_truncated', ({ to }) => expect(to).toHaveLength(2)],
    [
      'parts',
      multipart('mixed', ...Array.from({ length: 8 }, (_, at) => `Content-Type: image/png\n\n${at}`)),
      'parts_truncated',
      ({ attachments }) => expect(attachments).toHaveLength(3),
    ],
    ['depth', nest(4), 'parts_truncated', ({ text }) => expect(text).toBeNull()],
    [
      'text',
      mail('Subject: x\n\n', 'a'.repeat(200)),
      'text_truncated',
      ({ textTruncated }) => expect(textTruncated).toBe(true),
    ],
  ])('%s', async (_, raw, code, check) => {
    const message = await parseMessage(raw, set);
    expect(codes(message)).toContain(code);
    check(message);
    expect(codes(await parseMessage(raw))).toEqual([]);
  });
});

describe('a bomb', () => {
  test.each<[what: string, raw: () => Buffer]>([
    ['of a million header fields', () => mail('X: y\n'.repeat(1_000_000), '\nx')],
    ['of a million addresses', () => mail('To: ', 'a@b, '.repeat(1_000_000), '\n\nx')],
    ['of groups in groups', () => mail('To: ', 'g:'.repeat(100_000), '\n\nx')],
    ['of brackets in an address', () => mail('From: ', '<'.repeat(200_000), '\n\nx')],
    ['of comments in comments', () => mail('Authentication-Results: ', '('.repeat(200_000), '\n\nx')],
    [
      'of a hundred thousand parts',
      () => mail('Content-Type: multipart/mixed; boundary=b\n\n', '--b\n\nx\n'.repeat(100_000)),
    ],
    ['of a hundred thousand levels', () => nest(100_000)],
    ['of references', () => mail('References: ', '<a@b> '.repeat(200_000), '\n\nx')],
    ['of encoded words', () => mail('Subject: ', '=?utf-8?Q?=41?= '.repeat(50_000), '\n\nx')],
    ['of parameters', () => mail('Content-Type: text/plain', ';a=b'.repeat(200_000), '\n\nx')],
    [
      'of continued parameters',
      () => mail('Content-Disposition: attachment', ';filename*0*=a'.repeat(100_000), '\n\nx'),
    ],
    ['of HTML elements', () => mail('Content-Type: text/html\n\n', '<div>'.repeat(100_000))],
    ['of HTML attributes', () => mail('Content-Type: text/html\n\n<p ', 'a=b '.repeat(200_000), '>x')],
    ['of soft line breaks', () => mail('Content-Transfer-Encoding: quoted-printable\n\n', '=\n'.repeat(3_000_000))],
    ['of a line without an end', () => mail('Content-Transfer-Encoding: base64\n\n', 'QUJD'.repeat(5_000_000))],
  ])(
    '%s costs seconds at most, and leaves a message',
    async (_, raw) => {
      const message = await parseMessage(raw());
      expect(JSON.stringify(message).length).toBeLessThan(8 * 1024 * 1024);
      expect(message.parse.status).not.toBe('');
    },
    20_000,
  );
});
