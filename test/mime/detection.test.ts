import { deflateRawSync, gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { detectContentType } from '../../src/mime/detection.ts';
import { detectionBytesMax } from '../../src/mime/limits.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail, multipart } from './mail.ts';

const png = Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489', 'hex');
const executable = Buffer.concat([Buffer.from('MZ'), Buffer.alloc(200)]);

/** One file of a ZIP archive, as its local header says (APPNOTE 4.3.7). */
function zipped(name: string, content: Uint8Array, claimedBytes = content.length): Buffer {
  const packed = deflateRawSync(content);
  const head = Buffer.alloc(30);
  head.write('PK\u0003\u0004', 'latin1');
  head.writeUInt16LE(20, 4);
  head.writeUInt16LE(8, 8);
  head.writeUInt32LE(packed.length, 18);
  head.writeUInt32LE(claimedBytes, 22);
  head.writeUInt16LE(name.length, 26);
  return Buffer.concat([head, Buffer.from(name), packed]);
}

function attached(bytes: Uint8Array, contentType: string): Buffer {
  return multipart(
    'mixed',
    '\nwords',
    `Content-Type: ${contentType}\nContent-Transfer-Encoding: base64\n\n${Buffer.from(bytes).toString('base64')}`,
  );
}

describe('an attachment is what its first bytes say, whatever its sender does', () => {
  test.for([
    ['a picture called a document', png, 'application/pdf', 'image/png'],
    ['a program called a picture', executable, 'image/png', 'application/x-msdownload'],
    ['a document called nothing', Buffer.from('%PDF-1.7\n%'), 'application/octet-stream', 'application/pdf'],
    ['an archive called text', gzipSync('x'), 'text/csv; name=x.csv', 'application/gzip'],
  ] as const)('%s', async ([, bytes, declared, detected]) => {
    const { attachments } = await parseMessage(attached(bytes, declared));
    expect(attachments).toMatchObject([{ contentType: declared.split(';')[0], detectedContentType: detected }]);
  });

  test('and neither text nor nothing looks like anything', async () => {
    for (const bytes of [Buffer.from('a,b\n1,2\n'), Buffer.alloc(0), Buffer.from('<p>words</p>')]) {
      const { attachments } = await parseMessage(attached(bytes, 'application/x-any'));
      expect(attachments).toMatchObject([{ detectedContentType: null }]);
    }
  });

  test('an office document is told from other archives by what is in it', async () => {
    const types =
      '<Types><Override ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>';
    const document = zipped('[Content_Types].xml', Buffer.from(types));
    expect(await detectContentType(document)).toBe(
      'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    );
  });

  test('its first bytes are enough, and no more of them is kept', async () => {
    const large = Buffer.concat([png, Buffer.alloc(5_000_000)]);
    expect(await parseMessage(attached(large, 'text/csv'))).toMatchObject({
      attachments: [{ size: large.length, detectedContentType: 'image/png' }],
    });
    const late = Buffer.concat([Buffer.alloc(detectionBytesMax, ' '), png]);
    expect(await parseMessage(attached(late, 'text/csv'))).toMatchObject({
      attachments: [{ detectedContentType: null }],
    });
  });

  test('in whatever pieces they come', async () => {
    const raw = mail('Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n', png.toString('base64'));
    const pieces = Array.from({ length: raw.length }, (_, at) => raw.subarray(at, at + 1));
    async function* trickle(): AsyncGenerator<Uint8Array> {
      yield* pieces;
    }
    expect(await parseMessage(trickle())).toMatchObject({ attachments: [{ detectedContentType: 'image/png' }] });
  });
});

describe('hostile bytes', () => {
  test('that unpack to a thousand times as much are not unpacked', async () => {
    const bomb = zipped('[Content_Types].xml', Buffer.alloc(3_000_000), 3_000_000);
    expect(bomb.length).toBeLessThan(detectionBytesMax);
    expect(['application/zip', null]).toContain(await detectContentType(bomb));
  });

  test('of any kind, behind any signature, are a type or none', async () => {
    const signatures = [
      '',
      'PK\u0003\u0004',
      'ID3',
      'RIFF',
      '%PDF',
      'II*\0',
      'MM\0*',
      '\u001A\u0045\u00DF\u00A3',
      'OggS',
    ];
    const bytes = fc
      .tuple(fc.constantFrom(...signatures, '\0\0\0\u0018ftyp', '\u001F\u008B\u0008', 'MZ'), fc.uint8Array())
      .map(([signature, rest]) => Buffer.concat([Buffer.from(signature, 'latin1'), rest]));
    const isSound = async (given: Buffer): Promise<void> => {
      expect(await detectContentType(given)).toSatisfy(
        (type: string | null) => type === null || /^[a-z]+\/[\w.+-]+$/.test(type),
      );
    };
    await expect(fc.assert(fc.asyncProperty(bytes, isSound), { numRuns: 500 })).resolves.toBeUndefined();
  });
});
