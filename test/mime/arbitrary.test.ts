import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { openAttachment } from '../../src/mime/attachment.ts';
import { parseMessage } from '../../src/mime/parse.ts';

/** What messages are made of, apart from line ends. */
const vocabulary =
  `Subject: |To: |From: |From |Date: |References: |X-Any: |MIME-Version: 1.0|Content-ID: <a@b>|Content-Type: |
multipart/mixed|multipart/alternative|text/plain|text/html|message/rfc822|message/delivery-status|application/pdf|
; boundary=b|; boundary="c"|; charset=utf-16le|; charset=iso-2022-jp|; charset=utf-7|; format=flowed|; delsp=yes|
; filename="a\0b"|; name*0*=utf-8''%FF|; name*1=x|Content-Disposition: inline|Content-Disposition: attachment|
Content-Transfer-Encoding: base64|Content-Transfer-Encoding: quoted-printable|=?utf-8?B?2D3|?=|=?utf-16?Q?=D8=00?=|
=ED=A0=80|group: a@b, "c" <d@e>;|--b|--b--|--c|--c--| |\t|:|;|<|>|(|"|=|2D0A|AAAA|日本|\0|\u001b$B|<p>|<div>|</div>|<!--|
&#xD800;|&#0;|<a href="x">`.split(/\|\n?/);
const lineEnds = ['\r\n', '\r\n\r\n', '\n', '\r'];

async function survives(bytes: Uint8Array): Promise<void> {
  const message = await parseMessage(bytes);
  const json = JSON.stringify(message);
  expect(JSON.parse(json)).toEqual(message);
  expect(json).not.toContain(String.raw`\u0000`);
  // Lone surrogates, which JSON.stringify escapes.
  expect(json).not.toMatch(/\\ud[89a-f]/);
  expect(message.parse.status === 'ok').toBe(message.parse.warnings.length === 0);
}

test('arbitrary bytes never throw and always give what JSON can hold', async () => {
  const bytes = fc.uint8Array({ maxLength: 4096 });
  await expect(fc.assert(fc.asyncProperty(bytes, survives), { numRuns: 200 })).resolves.toBeUndefined();
});

const piece = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...vocabulary) },
  { weight: 1, arbitrary: fc.constantFrom(...lineEnds) },
);
const pieces = fc.array(piece, { maxLength: 60 }).map((chosen) => Buffer.from(chosen.join('')));

test('nor do the pieces that messages are made of, in whatever order', async () => {
  await expect(fc.assert(fc.asyncProperty(pieces, survives), { numRuns: 1000 })).resolves.toBeUndefined();
});

test('whatever is listed as an attachment can be opened, and is the same to the byte', async () => {
  const attached = pieces.map((rest) =>
    Buffer.concat([
      Buffer.from('Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/x\r\n'),
      rest,
    ]),
  );
  const opens = async (bytes: Buffer): Promise<void> => {
    for (const { id, sha256 } of (await parseMessage(bytes)).attachments) {
      const opened = await openAttachment(Readable.from([bytes]), id);
      expect(
        createHash('sha256')
          .update(await buffer(opened!.stream))
          .digest('hex'),
      ).toBe(sha256);
    }
  };
  await expect(fc.assert(fc.asyncProperty(attached, opens), { numRuns: 300 })).resolves.toBeUndefined();
});
