import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { openAttachment } from '../../src/mime/attachment.ts';
import { parseMessage } from '../../src/mime/parse.ts';

const WHOLE = `From: eva@example.com
Subject: Two parts
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

One.
Two.
--b
Content-Type: text/csv
Content-Disposition: attachment; filename=a.csv

1;2
3;4
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Disposition: inline; filename=note.txt
Content-Transfer-Encoding: quoted-printable

Gr=FC=
=DFe
--b--
`;

const crlf = Buffer.from(WHOLE.replaceAll('\n', '\r\n'));
const MENDED: Readonly<Record<string, Buffer>> = {
  'bare carriage returns': Buffer.from(WHOLE.replaceAll('\n', '\r')),
  'bare carriage returns and the CRLF that ends it on the wire': Buffer.from(`${WHOLE.replaceAll('\n', '\r')}\r\n`),
  'doubled carriage returns': Buffer.from(WHOLE.replaceAll('\n', '\r\r\n')),
  'no empty line behind its header section': Buffer.from(crlf.toString().replace('\r\n\r\n--b', '\r\n--b')),
};

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const inPieces = (bytes: Buffer, size: number): Readable =>
  Readable.from(
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, at * size + size)),
  );

describe.for(Object.entries(MENDED))('a message with %s', ([, bytes]) => {
  test('is read as the one that it was meant to be', async () => {
    const meant = await parseMessage(crlf);
    const { text, headers, attachments, parse } = await parseMessage(bytes);
    expect(text?.trimEnd()).toBe(meant.text?.trimEnd());
    expect(headers).toEqual(meant.headers);
    expect(attachments.map(({ source: _source, ...shown }) => shown)).toEqual(
      meant.attachments.map(({ source: _source, ...shown }) => shown),
    );
    expect(parse.status).not.toBe('failed');
  });

  test.for([1, 2, 3, 7, 64])('reads the same in pieces of %i bytes', async (size) => {
    expect(await parseMessage(inPieces(bytes, size))).toEqual(await parseMessage(bytes));
  });

  test('points at no place in the raw bytes, and its attachments are found again', async () => {
    const { attachments } = await parseMessage(bytes);
    for (const { id, sha256: digest, source } of attachments) {
      expect(source).toBeNull();
      const opened = await openAttachment(inPieces(bytes, 10), id);
      expect(sha256(await buffer(opened!.stream))).toBe(digest);
    }
  });
});

test('a text part that is shown and has a file name is text and attachment both', async () => {
  const { text, attachments, charsets } = await parseMessage(crlf);
  expect(text).toBe('One.\nTwo.\nGrüße');
  expect(charsets.at(-1)).toEqual({ part: '3', declared: 'iso-8859-1', used: 'windows-1252', replaced: 0 });
  const [, note] = attachments;
  expect(note).toMatchObject({ filename: 'note.txt', disposition: 'inline', inline: true, size: 5 });
  expect(note!.sha256).toBe(sha256(Buffer.from('Grüße', 'latin1')));
});

test('a carriage return within a field breaks no line', async () => {
  const { subject, to } = await parseMessage(Buffer.from('Subject: one\rtwo\r\nTo: a@example.com\r\n\r\nText\r\n'));
  expect(subject).toContain('two');
  expect(to).toHaveLength(1);
});
