import { createHash, randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { finished } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { openAttachment } from '../../src/mime/attachment.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail, multipart } from './mail.ts';

const message = multipart(
  'mixed',
  'Content-Type: text/plain\n\nwords',
  'Content-Type: application/pdf; name=one.pdf\nContent-Transfer-Encoding: base64\n\nT05F',
  'Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: image/png\n\ninner\n--c--\n',
  'Content-Type: text/csv\nContent-Disposition: attachment; filename=two.csv\nContent-Transfer-Encoding: quoted-printable\n\n1=2C2',
  'Content-Type: application/octet-stream\n\n',
);

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Bytes as a disk or an object store would give them, counted. */
function trickle(bytes: Uint8Array, chunkBytes = 64 * 1024): { raw: Readable; read: () => number } {
  let start = 0;
  const raw = new Readable({
    read() {
      this.push(start < bytes.length ? bytes.subarray(start, start + chunkBytes) : null);
      start += chunkBytes;
    },
  });
  return { raw, read: () => Math.min(start, bytes.length) };
}

test('every attachment that parseMessage lists can be opened by its id, and is the same to the byte', async () => {
  const { attachments } = await parseMessage(message);
  expect(attachments).toHaveLength(4);
  for (const { id, filename, contentType, size, sha256: digest } of attachments) {
    const opened = await openAttachment(Readable.from([message]), id);
    expect(opened).toMatchObject({ filename, contentType });
    const content = await buffer(opened!.stream);
    expect(content).toHaveLength(size);
    expect(sha256(content)).toBe(digest);
  }
});

describe('the part of an attachment is numbered as IMAP does', () => {
  const partsOf = async (bytes: Uint8Array): Promise<string[]> =>
    (await parseMessage(bytes)).attachments.map(({ part }) => part);
  const image = 'Content-Type: image/png\n\nx';

  test('beside the text', async () => {
    expect(await partsOf(multipart('mixed', 'Content-Type: text/plain\n\nwords', image, image))).toEqual(['2', '3']);
  });

  test('within multiparts within multiparts', async () => {
    const related = `Content-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<p>\n--r\n${image}\n--r--`;
    const inner = `Content-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nx\n--a\n${related}\n--a--\n`;
    expect(await partsOf(multipart('mixed', inner, image))).toEqual(['1.2.2', '2']);
  });

  test('and 1 where it is all that the message has', async () => {
    expect(await partsOf(mail(image))).toEqual(['1']);
  });
});

test('the message may come in any pieces', async () => {
  for (const chunkBytes of [1, 7, 4096]) {
    const opened = await openAttachment(trickle(message, chunkBytes).raw, 'att_3');
    expect((await buffer(opened!.stream)).toString()).toBe('1,2');
  }
});

test.for(['att_0', 'att_5', 'att_01', 'att_', '1', '', '../att_1'])('there is no attachment %j', async (id) => {
  const raw = Readable.from([message]);
  expect(await openAttachment(raw, id)).toBeNull();
  expect(raw.destroyed).toBe(true);
});

test('a message that cannot be parsed has no attachments', async () => {
  expect(await openAttachment(Readable.from([mail(`X: ${'a'.repeat(2_000_000)}\n\nx`)]), 'att_1')).toBeNull();
  expect(await openAttachment(Readable.from([]), 'att_1')).toBeNull();
});

describe('a large attachment', () => {
  const content = randomBytes(20 * 1024 * 1024);
  const large = multipart(
    'mixed',
    'Content-Type: text/plain\n\nwords',
    mail(
      'Content-Type: application/zip\nContent-Transfer-Encoding: base64\n\n',
      content.toString('base64').replaceAll(/.{76}/g, '$&\n'),
    ),
    mail('Content-Type: text/plain\n\n', 'a line of text\n'.repeat(300_000)),
  );

  test('of 20 MB is the same to the byte', async () => {
    const { attachments } = await parseMessage(large);
    expect(attachments).toMatchObject([{ size: content.length, sha256: sha256(content) }]);
    const opened = await openAttachment(trickle(large).raw, 'att_1');
    const hash = createHash('sha256');
    for await (const chunk of opened!.stream) hash.update(chunk as Buffer);
    expect(hash.digest('hex')).toBe(sha256(content));
  });

  test('is read no faster than its reader reads, and not beyond its end', async () => {
    const { raw, read } = trickle(large);
    const opened = await openAttachment(raw, 'att_1');
    const heldBytes = 3 * 1024 * 1024;
    let taken = 0;
    for await (const chunk of opened!.stream) {
      taken += (chunk as Buffer).length;
      // A third more than the decoded bytes is base64; the rest is the header section and what the streams between hold.
      expect(read()).toBeLessThan((taken * 4 * 78) / (3 * 76) + heldBytes);
    }
    await finished(raw).catch(() => {});
    expect(raw.destroyed).toBe(true);
    expect(read()).toBeLessThan(large.length);
  });

  test('whose reader leaves lets go of the message', async () => {
    const { raw, read } = trickle(large);
    const opened = await openAttachment(raw, 'att_1');
    opened!.stream.destroy();
    await finished(raw).catch(() => {});
    expect(raw.destroyed).toBe(true);
    expect(read()).toBeLessThan(large.length / 2);
  });
});

describe('a raw message that fails', () => {
  const gone = new Error('the disk is gone');

  test('before the attachment fails the opening', async () => {
    const raw = new PassThrough();
    const opened = openAttachment(raw, 'att_2');
    raw.write(message.subarray(0, 200));
    raw.destroy(gone);
    await expect(opened).rejects.toBe(gone);
  });

  test('within the attachment fails its stream', async () => {
    const raw = new PassThrough();
    const pending = openAttachment(raw, 'att_1');
    raw.write(mail('Content-Type: application/pdf\n\n', 'a line\n'.repeat(100_000)));
    const opened = await pending;
    raw.destroy(gone);
    await expect(buffer(opened!.stream)).rejects.toBe(gone);
  });

  test('by ending early, without an error, fails too', async () => {
    const raw = new PassThrough();
    const pending = openAttachment(raw, 'att_1');
    raw.write(mail('Content-Type: application/pdf\n\n', 'a line\n'.repeat(100_000)));
    const opened = await pending;
    raw.destroy();
    await expect(buffer(opened!.stream)).rejects.toThrow('Premature close');
  });
});
