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
