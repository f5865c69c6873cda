/** An attachment is served by decoding the range of the raw message that parsing has found for it. */
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { decodeAttachment, openAttachment } from '../../src/mime/attachment.ts';
import type { StoredAttachment } from '../../src/mime/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { mail, multipart } from './mail.ts';

async function decodeRange(raw: Buffer, { source }: StoredAttachment, chunkBytes = 1000): Promise<Buffer> {
  const { offset, length, encoding } = source!;
  const range = raw.subarray(offset, offset + length);
  const chunks = Array.from({ length: Math.ceil(range.length / chunkBytes) }, (_, at) =>
    range.subarray(at * chunkBytes, (at + 1) * chunkBytes),
  );
  return buffer(decodeAttachment(Readable.from(chunks, { objectMode: false }), encoding));
}

/** All attachments of a message come out of their ranges as they were described. Resolves with how many have one. */
async function expectExact(raw: Buffer): Promise<number> {
  const { attachments } = await parseMessage(raw);
  let located = 0;
  for (const attachment of attachments) {
    if (attachment.source === null) continue;
    located += 1;
    const decoded = await decodeRange(raw, attachment);
    expect(decoded.length).toBe(attachment.size);
    expect(createHash('sha256').update(decoded).digest('hex')).toBe(attachment.sha256);
  }
  return located;
}

const file = (headers: string, body: string): string =>
  `Content-Disposition: attachment; filename=f${headers === '' ? '' : `\n${headers}`}\n\n${body}`;
const base64 = (bytes: Uint8Array, lineChars = 76): string =>
  (
    Buffer.from(bytes)
      .toString('base64')
      .match(new RegExp(`.{1,${lineChars}}`, 'g')) ?? []
  ).join('\n');

describe('the range of an attachment', () => {
  test.each<[what: string, raw: Buffer, located: number]>([
    ['in the middle', multipart('mixed', 'Content-Type: text/plain\n\nwords', file('', 'one'), file('', 'two')), 2],
    ['in base64', multipart('mixed', file('Content-Transfer-Encoding: base64', base64(Buffer.alloc(500, 7)))), 1],
    [
      'in quoted-printable',
      multipart('mixed', file('Content-Transfer-Encoding: quoted-printable', 'a=3Db=\nc =20\n')),
      1,
    ],
    [
      'with damage in its base64',
      multipart('mixed', file('Content-Transfer-Encoding: base64', 'YWJj!!\n\nZ-GVm=Zw==\n\nYQ')),
      1,
    ],
    ['of an encoding that nobody knows', multipart('mixed', file('Content-Transfer-Encoding: x-what', 'as it is')), 1],
    ['that is empty', multipart('mixed', file('', ''), file('', 'x')), 2],
    ['that is one line end', multipart('mixed', file('', '\n'), file('', '\n\n')), 2],
    ['that is the whole body', mail('Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nYWJj\n'), 1],
    ['that is the whole body, without a line end', mail('Content-Type: application/pdf\n\nabc'), 1],
    ['that is a message', multipart('mixed', 'Content-Type: message/rfc822\n\nSubject: inner\n\ninner words\n'), 1],
    ['of a message without a header section', Buffer.from('--b\r\nwords\r\n'), 0],
    [
      'behind a separator of mailboxes',
      Buffer.concat([Buffer.from('From a@b Mon Nov 23\r\n'), multipart('mixed', file('', 'x'))]),
      1,
    ],
  ])('%s', async (_, raw, located) => {
    expect((await parseMessage(raw)).attachments).toHaveLength(located);
    expect(await expectExact(raw)).toBe(located);
    // Bare line feeds, as some servers give.
    const bare = Buffer.from(raw.toString('latin1').replaceAll('\r\n', '\n'), 'latin1');
    expect(await expectExact(bare)).toBe(located);
  });

  test('of a multipart that never ends, or in which another begins', async () => {
    const open = `Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n${file('', 'one')}\n--b\n`;
    const inner = `Content-Type: multipart/mixed; boundary="b c"\n\n--b c\n${file('Content-Transfer-Encoding: base64', 'YWJj')}\n`;
    expect(await expectExact(mail(`${open}${file('', 'the end is missing')}`))).toBe(2);
    expect(await expectExact(mail(`${open}${inner}\n--b c--\nepilogue\n--b--\nepilogue`))).toBe(2);
    expect(await expectExact(mail(`${open}${inner}\n--b--\nepilogue`))).toBe(2);
  });

  test('of every sandbox mail', async () => {
    let located = 0;
    let listed = 0;
    for (const { raw } of sandboxMails()) {
      located += await expectExact(raw);
      listed += (await parseMessage(raw)).attachments.length;
    }
    expect(located).toBe(listed);
    expect(listed).toBeGreaterThan(3);
  });

  test('of any message: it gives what was described, and what is found by searching the message', async () => {
    const eol = fc.constantFrom('\n', '\r\n');
    const content = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => ['base64', base64(bytes, 20)] as const),
      fc.string({ unit: 'grapheme-ascii', maxLength: 80 }).map((text) => ['quoted-printable', text] as const),
      fc
        .string({ unit: fc.constantFrom('a', '\n', '-', ' ', '=', 'b'), maxLength: 60 })
        .map((text) => ['7bit', text] as const),
    );
    const part = content.map(([encoding, body]) => file(`Content-Transfer-Encoding: ${encoding}`, body));
    const shape = fc.record({
      parts: fc.array(part, { minLength: 1, maxLength: 4 }),
      preamble: fc.constantFrom('', 'preamble\n', '\n\n'),
      end: fc.constantFrom('--b--\n', '--b--', '', '\n'),
      isNested: fc.boolean(),
      eol,
    });
    await fc.assert(
      fc.asyncProperty(
        shape,
        fc.integer({ min: 1, max: 999 }),
        async ({ parts, preamble, end, isNested, eol }, size) => {
          const body = `${preamble}${parts.map((text) => `--b\n${text}\n`).join('')}${end}`;
          const whole = `Content-Type: multipart/mixed; boundary=b\n\n${body}`;
          const text = isNested
            ? `Subject: x\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n${whole}\n--outer--\n`
            : `Subject: x\n${whole}`;
          const raw = Buffer.from(text.replaceAll('\n', eol));
          await expectExact(raw);
          const { attachments } = await parseMessage(raw);
          for (const attachment of attachments.slice(0, 2)) {
            const found = await openAttachment(Readable.from([raw]), attachment.id);
            const searched = await buffer(found!.stream);
            if (attachment.source) expect((await decodeRange(raw, attachment, size)).equals(searched)).toBe(true);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('is the same for a message that comes in pieces, and for one that comes whole', async () => {
    const raw = multipart(
      'mixed',
      file('Content-Transfer-Encoding: base64', base64(Buffer.alloc(200_000, 3))),
      file('', 'x'),
    );
    const whole = await parseMessage(raw);
    for (const size of [1000, 65_536, 300_000]) {
      const pieces = Array.from({ length: Math.ceil(raw.length / size) }, (_, at) =>
        raw.subarray(at * size, (at + 1) * size),
      );
      expect(await parseMessage(Readable.from(pieces))).toEqual(whole);
    }
    expect(whole.attachments.every(({ source }) => source !== null)).toBe(true);
  });
});

test('decoding fails with what its source fails with, and lets go of it when nobody reads on', async () => {
  async function* broken(): AsyncGenerator<Buffer> {
    yield Buffer.from('YWJj');
    throw new RangeError('the disk is gone');
  }
  const failing = decodeAttachment(Readable.from(broken()), 'base64');
  await expect(buffer(failing)).rejects.toThrow(new RangeError('the disk is gone'));
  const source = Readable.from([Buffer.alloc(1_000_000, 'YWJj')]);
  const left = decodeAttachment(source, 'base64');
  left.destroy();
  await new Promise((resolve) => source.once('close', resolve));
  expect(source.destroyed).toBe(true);
});
