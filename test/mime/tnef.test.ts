import { createHash, randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { finished } from 'node:stream/promises';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openAttachment } from '../../src/mime/attachment.ts';
import { attachmentsMax, tnefAttributesMax, tnefPropertiesMax } from '../../src/mime/limits.ts';
import type { ParsedMessage } from '../../src/mime/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { multipart } from './mail.ts';
import * as writer from './tnef-writer.ts';
import {
  attribute,
  codepage,
  data,
  properties,
  property,
  rendering,
  title,
  tnef,
  u16,
  u32,
  unicode,
} from './tnef-writer.ts';

const png = Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489', 'hex');

function wrap(winmail: Uint8Array, head = 'Content-Type: application/ms-tnef; name=winmail.dat'): Buffer {
  const encoded = Buffer.from(winmail).toString('base64').replaceAll(/.{76}/g, '$&\n');
  return multipart('mixed', '\nwords', `${head}\nContent-Transfer-Encoding: base64\n\n${encoded}`);
}

const codes = ({ parse }: ParsedMessage): string[] => parse.warnings.map(({ code }) => code);
const namesOf = async (winmail: Uint8Array): Promise<(string | null)[]> =>
  (await parseMessage(wrap(winmail))).attachments.slice(1).map(({ filename }) => filename);

test('the files of a winmail.dat are listed behind it, and it says that it was one', async () => {
  const raw = wrap(
    tnef(
      codepage(1252),
      rendering(),
      title('BILL~1.PDF'),
      data('%PDF-1.7\n'),
      properties(
        unicode(writer.LONG_FILENAME, 'Bill for 100 €.pdf'),
        unicode(writer.MIME_TAG, 'Application/PDF'),
        unicode(writer.CONTENT_ID, '<a@b>'),
      ),
      rendering(),
      title('dot.png'),
      data(png),
    ),
  );
  const message = await parseMessage(raw);
  expect(message).toMatchObject({ text: 'words', classification: { tnef: true }, parse: { status: 'ok' } });
  expect(message.attachments).toMatchObject([
    { id: 'att_1', part: '2', filename: 'winmail.dat', contentType: 'application/ms-tnef' },
    {
      id: 'att_1.1',
      part: '2',
      filename: 'Bill for 100 €.pdf',
      contentType: 'application/pdf',
      detectedContentType: 'application/pdf',
      disposition: 'attachment',
      contentId: 'a@b',
      inline: false,
      size: 9,
      sha256: createHash('sha256').update('%PDF-1.7\n').digest('hex'),
      source: null,
    },
    { id: 'att_1.2', filename: 'dot.png', contentType: 'application/octet-stream', detectedContentType: 'image/png' },
  ]);
  expect(message.attachments[0]?.source).toMatchObject({ encoding: 'base64' });
});

test('attachments behind it keep their numbers, and are where they are said to be', async () => {
  const dat = tnef(rendering(), title('a'), data('x')).toString('base64');
  const raw = multipart(
    'mixed',
    `Content-Type: application/ms-tnef\nContent-Transfer-Encoding: base64\n\n${dat}`,
    'Content-Type: application/pdf; name=b\n\nthe second',
  );
  const { attachments } = await parseMessage(raw);
  expect(attachments.map(({ id }) => id)).toEqual(['att_1', 'att_1.1', 'att_2']);
  const { offset, length } = attachments[2]!.source!;
  expect(raw.subarray(offset, offset + length).toString()).toBe('the second');
});

test.for([
  ['its type', 'Content-Type: application/vnd.ms-tnef'],
  ['its name', 'Content-Type: application/octet-stream; name=WINMAIL.DAT'],
])('a winmail.dat is known by %s', async ([, head]) => {
  const message = await parseMessage(wrap(tnef(rendering(), title('a'), data('x')), head));
  expect(message.attachments.map(({ id }) => id)).toEqual(['att_1', 'att_1.1']);
});

test('what has its name alone is no winmail.dat, and nothing is amiss with it', async () => {
  const message = await parseMessage(wrap(Buffer.from('a file'), 'Content-Type: application/x-any; name=winmail.dat'));
  expect(message).toMatchObject({
    classification: { tnef: false },
    attachments: [{ size: 6 }],
    parse: { status: 'ok' },
  });
  expect(message.attachments).toHaveLength(1);
});

describe('a file has the name', () => {
  const cyrillic = Buffer.from([0xf1, 0xf7, 0xb8, 0xf2]);

  test('that is long, before the one of eight letters and three', async () => {
    const long = unicode(writer.LONG_FILENAME, 'the long one');
    expect(await namesOf(tnef(rendering(), title('SHORT'), data('x'), properties(long)))).toEqual(['the long one']);
    expect(await namesOf(tnef(rendering(), title('SHORT'), data('x')))).toEqual(['SHORT']);
    expect(await namesOf(tnef(rendering(), data('x')))).toEqual([null]);
  });

  test('in the code page of its sender', async () => {
    expect(await namesOf(tnef(codepage(1251), rendering(), title(cyrillic), data('x')))).toEqual(['счёт']);
    expect(await namesOf(tnef(codepage(65_001), rendering(), title('счёт'), data('x')))).toEqual(['счёт']);
    expect(await namesOf(tnef(codepage(4711), rendering(), title('plain'), data('x')))).toEqual(['plain']);
    const eightBit = property(0x1e, writer.LONG_FILENAME, Buffer.concat([cyrillic, Uint8Array.of(0)]));
    expect(await namesOf(tnef(codepage(1251), rendering(), properties(eightBit), data('x')))).toEqual(['счёт']);
  });

  test('whatever properties stand before it', async () => {
    const guid = randomBytes(16);
    const before = [
      Buffer.concat([u16(0x03), u16(0x3705), u32(1)]),
      Buffer.concat([u16(0x0b), u16(0x7ffe), u32(1)]),
      Buffer.concat([u16(0x40), u16(0x3007), Buffer.alloc(8)]),
      Buffer.concat([u16(0x48), u16(0x3016), guid]),
      Buffer.concat([u16(0x1003), u16(0x3017), u32(2), u32(1), u32(2)]),
      property(0x102, 0x3702, Buffer.from('12345')),
      Buffer.concat([u16(0x03), u16(0x8000), guid, u32(0), u32(7), u32(1)]),
      Buffer.concat([u16(0x03), u16(0x8001), guid, u32(1), u32(6), Buffer.from('a\0b\0\0\0\0\0'), u32(1)]),
      Buffer.concat([u16(0x101f), u16(0x3018), u32(2), u32(2), Buffer.from('a\0\0\0'), u32(4), Buffer.from('b\0c\0')]),
    ];
    const winmail = tnef(rendering(), data('x'), properties(...before, unicode(writer.LONG_FILENAME, 'found')));
    expect(await namesOf(winmail)).toEqual(['found']);
    expect(codes(await parseMessage(wrap(winmail)))).toEqual([]);
  });
});

describe('the content of a file', () => {
  test('may be a property of it', async () => {
    const raw = wrap(tnef(rendering(), properties(property(0x102, writer.DATA_PROPERTY, Buffer.from('content')))));
    const opened = await openAttachment(Readable.from([raw]), 'att_1.1');
    expect((await buffer(opened!.stream)).toString()).toBe('content');
  });

  test('that is an Outlook item is TNEF again', async () => {
    const item = tnef(rendering(), title('inner'), data('x'));
    const guid = Buffer.from('0703020000000000c000000000000046', 'hex');
    const object = property(0x0d, writer.DATA_PROPERTY, Buffer.concat([guid, item]));
    const name = unicode(0x3001, 'A meeting');
    const raw = wrap(tnef(rendering(), properties(object, name)));
    const { attachments } = await parseMessage(raw);
    expect(attachments.slice(1)).toMatchObject([
      { filename: 'A meeting', contentType: 'application/ms-tnef', size: item.length },
    ]);
    const opened = await openAttachment(Readable.from([raw]), 'att_1.1');
    expect(await buffer(opened!.stream)).toEqual(item);
  });

  test('is listed and opened alike, to the byte, in whatever pieces the message comes', async () => {
    const files = [Buffer.alloc(0), randomBytes(1), randomBytes(300_000), Buffer.from('the last')];
    const raw = wrap(tnef(...files.flatMap((bytes) => [rendering(), title('x'), data(bytes)])));
    const { attachments } = await parseMessage(raw);
    expect(attachments).toHaveLength(5);
    for (const [index, bytes] of files.entries()) {
      const { id, size, sha256 } = attachments[index + 1]!;
      expect([size, sha256]).toEqual([bytes.length, createHash('sha256').update(bytes).digest('hex')]);
      for (const pieceBytes of [1000, 65_536]) {
        const pieces = Array.from({ length: Math.ceil(raw.length / pieceBytes) }, (_, at) =>
          raw.subarray(at * pieceBytes, (at + 1) * pieceBytes),
        );
        const opened = await openAttachment(Readable.from(pieces), id);
        expect((await buffer(opened!.stream)).equals(bytes)).toBe(true);
      }
    }
  });

  test('is not there where there is no such file', async () => {
    const raw = wrap(tnef(rendering(), data('x')));
    for (const id of ['att_1.2', 'att_1.0', 'att_1.01', 'att_2.1', 'att_1.1.1', 'att_1.']) {
      expect(await openAttachment(Readable.from([raw]), id)).toBeNull();
    }
    expect(
      await openAttachment(Readable.from([multipart('mixed', 'Content-Type: image/png\n\nx')]), 'att_1.1'),
    ).toBeNull();
  });

  test('fails with what the message fails with, and lets go of it when its reader leaves', async () => {
    const raw = wrap(tnef(rendering(), data(randomBytes(5_000_000))));
    const failing = new PassThrough();
    failing.write(raw.subarray(0, 1_000_000));
    const broken = await openAttachment(failing, 'att_1.1');
    failing.destroy(new RangeError('the disk is gone'));
    await expect(buffer(broken!.stream)).rejects.toThrow('the disk is gone');
    const source = Readable.from([raw.subarray(0, 1_000_000), raw.subarray(1_000_000)]);
    const left = await openAttachment(source, 'att_1.1');
    left!.stream.destroy();
    // It may be through already: two chunks are taken in ahead of the reader.
    await finished(source).catch(() => {});
    expect(source.destroyed).toBe(true);
  });
});

describe('a damaged winmail.dat', () => {
  const sound = [rendering(), title('sound'), data('content')];

  test.for([
    ['ends early', tnef(...sound, rendering(), title('cut'), data('content').subarray(0, 12))],
    ['has something behind its end', Buffer.concat([tnef(...sound), Buffer.from('MIKE LEFT THIS HERE')])],
    ['claims more than there is', tnef(...sound, attribute(2, 0x0006800f, Buffer.from('x'), { length: 0xffffffff }))],
    ['has a wrong sum', tnef(...sound, attribute(1, 0x00078008, Buffer.from('x'), { sumOff: 1 }))],
    ['has two contents for one file', tnef(...sound, data('another'))],
    ['has a property of no type', tnef(...sound, properties(Buffer.concat([u16(0x77), u16(1)])))],
    ['counts properties that are not there', tnef(...sound, attribute(2, 0x00069005, u32(0xffffffff)))],
    [
      'has a property that leads out of its list',
      tnef(...sound, attribute(2, 0x00069005, Buffer.concat([u32(1), u16(0x102), u16(1), u32(1), u32(0xffffff)]))),
    ],
    [
      'counts values that are not there',
      tnef(...sound, properties(Buffer.concat([u16(0x1003), u16(1), u32(0xffffffff)]))),
    ],
  ] as const)('that %s gives what is sound in it, and says so', async ([, winmail]) => {
    const message = await parseMessage(wrap(winmail));
    expect(message.attachments[0]).toMatchObject({ id: 'att_1', size: winmail.length });
    expect(message.attachments[1]).toMatchObject({ filename: 'sound', size: 7 });
    expect(message).toMatchObject({ classification: { tnef: true }, parse: { status: 'partial' } });
    expect(codes(message)).toEqual(['tnef_malformed']);
  });

  test('within one attribute loses no other', async () => {
    const broken = properties(Buffer.concat([u16(0x77), u16(1)]));
    expect(await namesOf(tnef(rendering(), broken, rendering(), title('next'), data('x')))).toEqual([null, 'next']);
  });

  test('or none at all, under its type, is a file like others', async () => {
    const message = await parseMessage(wrap(Buffer.from('no TNEF')));
    expect(message.attachments).toMatchObject([{ size: 7 }]);
    expect(message.classification.tnef).toBe(false);
    expect(codes(message)).toEqual(['tnef_malformed']);
  });

  test('in any way never throws, and all that is listed can be opened, the same to the byte', async () => {
    const base = tnef(
      codepage(1252),
      ...sound,
      properties(unicode(writer.LONG_FILENAME, 'a name'), property(0x102, writer.DATA_PROPERTY, Buffer.from('bytes'))),
      rendering(),
      properties(property(0x0d, writer.DATA_PROPERTY, randomBytes(20))),
    );
    const flips = fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const survives = async (changes: readonly (readonly [number, number])[], end: number): Promise<void> => {
      const bytes = Buffer.from(base.subarray(0, end));
      for (const [at, value] of changes) if (at < end) bytes[at] = value;
      const raw = wrap(bytes);
      for (const { id, sha256 } of (await parseMessage(raw)).attachments) {
        const opened = await openAttachment(Readable.from([raw]), id);
        const content = await buffer(opened!.stream);
        expect(createHash('sha256').update(content).digest('hex')).toBe(sha256);
      }
    };
    const damage = fc.asyncProperty(flips, fc.integer({ min: 0, max: base.length }), survives);
    await expect(fc.assert(damage, { numRuns: 400 })).resolves.toBeUndefined();
  });
});

describe('bounds of a winmail.dat:', () => {
  test('files by the thousand are listed up to the bound on attachments', async () => {
    const file = Buffer.concat([rendering(), data('x')]);
    const message = await parseMessage(wrap(tnef(...Array.from({ length: 4000 }, () => file))));
    expect(message.attachments).toHaveLength(attachmentsMax);
    expect(codes(message)).toEqual(['attachments_truncated']);
  });

  test('attributes by the million are not read', async () => {
    const message = await parseMessage(wrap(tnef(Buffer.alloc(11 * 1_000_000, attribute(1, 1, Buffer.alloc(0))))));
    expect(codes(message)).toEqual(['tnef_malformed']);
    const most = tnef(...Array.from({ length: tnefAttributesMax - 1 }, () => attribute(1, 1, Buffer.alloc(0))));
    expect(codes(await parseMessage(wrap(most)))).toEqual([]);
  });

  test('properties by the million are not read', async () => {
    const list = Buffer.alloc(8 * (tnefPropertiesMax + 1), Buffer.concat([u16(0x03), u16(1), u32(0)]));
    const counted = Buffer.concat([u32(tnefPropertiesMax + 1), list]);
    const message = await parseMessage(wrap(tnef(rendering(), attribute(2, 0x00069005, counted))));
    expect(codes(message)).toEqual(['tnef_malformed']);
  });

  test('a name of megabytes is cut', async () => {
    const name = unicode(writer.LONG_FILENAME, 'n'.repeat(1_000_000));
    const [found] = await namesOf(tnef(rendering(), data('x'), properties(name)));
    expect(found).toBe('n'.repeat(512));
  });
});
