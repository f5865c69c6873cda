/** Sealed pieces and the extents that they lie in: what comes out is what went in, or an error. */
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { BlobStore, ByteRange } from '../../src/message/blobs/blob-store.ts';
import { openExtent, type Extent } from '../../src/message/extent.ts';
import { pieceBytes } from '../../src/message/limits.ts';
import { PieceSealer, type PieceKey } from '../../src/message/sealed-pieces.ts';

const KEY: PieceKey = { key: Buffer.alloc(32, 5), kind: 'raw', tenant: 'default' };
const BLOB = 'blb_00000';
const SIZES = [0, 1, 100, pieceBytes - 1, pieceBytes, pieceBytes + 1, 3 * pieceBytes, 3 * pieceBytes + 7];

/** A blob store with one blob, that remembers what was read of it. */
function blobsOf(bytes: Buffer): Pick<BlobStore, 'open'> & { read: ByteRange[] } {
  const read: ByteRange[] = [];
  return {
    read,
    async open({ id }, range = { start: 0, end: bytes.length - 1 }) {
      read.push(range);
      return id === BLOB ? Readable.from([bytes.subarray(range.start, range.end + 1)]) : null;
    },
  };
}

async function* sealPieces(source: AsyncIterable<Buffer>, key: PieceKey): AsyncGenerator<Buffer> {
  const sealer = new PieceSealer(key);
  for await (const chunk of source) yield* sealer.add(chunk);
  yield* sealer.end();
}

async function seal(plain: Buffer, key = KEY): Promise<{ sealed: Buffer; extent: Extent }> {
  const sealed = await buffer(sealPieces(Readable.from([plain]), key));
  // Something before it and behind it, as in a pack.
  return { sealed, extent: { blob: BLOB, offset: 10, length: sealed.length, size: plain.length } };
}

function inPack(sealed: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(10, 'x'), sealed, Buffer.alloc(10, 'y')]);
}

async function open(packed: Buffer, extent: Extent, key = KEY, range?: ByteRange): Promise<Buffer> {
  const stream = await openExtent(blobsOf(packed), extent, key, range);
  return buffer(stream!);
}

const text = (size: number): Buffer => Buffer.alloc(size, 'a line of text that is there again and again\r\n');

describe('an extent', () => {
  test.each(SIZES)('of %i bytes gives back what was sealed, text and noise', async (size) => {
    for (const plain of [text(size), randomBytes(size)]) {
      const { sealed, extent } = await seal(plain);
      expect(plain.equals(await open(inPack(sealed), extent))).toBe(true);
    }
  });

  test('gives any range of it', async () => {
    const plain = randomBytes(2 * pieceBytes + 99);
    const { sealed, extent } = await seal(plain);
    const packed = inPack(sealed);
    const offset = fc.oneof(
      fc.nat(plain.length - 1),
      fc.constantFrom(pieceBytes - 1, pieceBytes, 2 * pieceBytes - 1, 2 * pieceBytes),
    );
    await fc.assert(
      fc.asyncProperty(offset, offset, async (a, b) => {
        const range = { start: Math.min(a, b), end: Math.max(a, b) };
        const read = await open(packed, extent, KEY, range);
        expect(plain.subarray(range.start, range.end + 1).equals(read)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test('reads no more of the blob than the pieces of the range, and the table that says where they are', async () => {
    const { sealed, extent } = await seal(randomBytes(20 * pieceBytes));
    const blobs = blobsOf(inPack(sealed));
    await buffer((await openExtent(blobs, extent, KEY, { start: 10 * pieceBytes, end: 10 * pieceBytes }))!);
    const bytes = blobs.read.reduce((sum, { start, end }) => sum + end - start + 1, 0);
    expect(blobs.read).toHaveLength(2);
    expect(bytes).toBeLessThan(pieceBytes + 1000);
  });

  test('is the same however the bytes come, and keeps none of the chunks', async () => {
    const plain = text(2 * pieceBytes + 5);
    const whole = await seal(plain);
    async function* lent(): AsyncGenerator<Buffer> {
      for (let at = 0; at < plain.length; at += 1000) {
        const chunk = Buffer.from(new ArrayBuffer(Math.min(1000, plain.length - at)));
        plain.copy(chunk, 0, at);
        yield chunk;
        chunk.buffer.transfer(0);
      }
    }
    expect((await buffer(sealPieces(lent(), KEY))).equals(whole.sealed)).toBe(true);
  });

  test('takes less room than text does, and hardly more than noise', async () => {
    expect((await seal(text(10 * pieceBytes))).sealed.length).toBeLessThan(10_000);
    expect((await seal(randomBytes(10 * pieceBytes))).sealed.length).toBeLessThan(10 * pieceBytes + 300);
  });

  test('shows nothing of what was sealed', async () => {
    const { sealed } = await seal(Buffer.from('From: a person whom it concerns'));
    expect(sealed.includes('person')).toBe(false);
  });

  test('of a blob that is gone is null', async () => {
    const { sealed, extent } = await seal(text(100));
    expect(await openExtent(blobsOf(sealed), { ...extent, blob: 'blb_other' }, KEY)).toBeNull();
  });

  const damaged = expect.objectContaining({ code: 'storage_failed' }) as unknown;

  test.each([100, 3 * pieceBytes])('with one bit of its %i bytes turned is damaged, wherever that is', async (size) => {
    const { sealed, extent } = await seal(randomBytes(size));
    for (const at of [0, 1, Math.floor(sealed.length / 2), sealed.length - 17, sealed.length - 1]) {
      const turned = Buffer.from(sealed);
      turned[at] = (turned[at] ?? 0) ^ 1;
      await expect(open(inPack(turned), extent), `bit at ${at}`).rejects.toEqual(damaged);
    }
  });

  test('is damaged where it ends early, and where two of its pieces have changed places', async () => {
    const { sealed, extent } = await seal(randomBytes(3 * pieceBytes));
    await expect(open(Buffer.concat([Buffer.alloc(10), sealed.subarray(0, -1)]), extent)).rejects.toEqual(damaged);
    const piece = pieceBytes + 17;
    const swapped = Buffer.concat([
      sealed.subarray(piece, 2 * piece),
      sealed.subarray(0, piece),
      sealed.subarray(2 * piece),
    ]);
    await expect(open(inPack(swapped), extent)).rejects.toEqual(damaged);
  });

  test.each([
    ['another key', { ...KEY, key: Buffer.alloc(32, 6) }],
    ['another tenant', { ...KEY, tenant: 'other' }],
    ['another kind of stream', { ...KEY, kind: 'content' }],
  ] as const)('does not open under %s', async (_, key) => {
    const { sealed, extent } = await seal(text(100));
    await expect(open(inPack(sealed), extent, key)).rejects.toEqual(damaged);
  });

  test('fails, and takes nothing else down, where the blob’s stream breaks before anybody reads', async () => {
    const { extent } = await seal(randomBytes(100));
    const source = new Readable({ read() {} });
    const stream = (await openExtent({ open: async () => source }, extent, KEY))!;
    source.destroy(new Error('connection reset'));
    await new Promise((resolve) => source.once('close', resolve));
    await expect(buffer(stream)).rejects.toThrow('connection reset');
  });

  test('lets go of the blob’s stream when nobody reads on, or ever began', async () => {
    const { sealed, extent } = await seal(randomBytes(5 * pieceBytes));
    for (const reads of [0, 1]) {
      const whole = blobsOf(inPack(sealed));
      let source: Readable | null = null;
      const blobs: Pick<BlobStore, 'open'> = { open: async (...given) => (source = await whole.open(...given)) };
      const stream = (await openExtent(blobs, extent, KEY))!;
      for (let read = 0; read < reads; read += 1) await new Promise((resolve) => stream.once('readable', resolve));
      stream.destroy();
      await new Promise((resolve) => stream.once('close', resolve));
      expect(source).toMatchObject({ destroyed: true });
    }
  });
});

test('the sealer gives a piece out as soon as more comes: it holds no more than one', () => {
  const sealer = new PieceSealer(KEY);
  expect([...sealer.add(Buffer.alloc(pieceBytes))]).toHaveLength(0);
  expect([...sealer.add(Buffer.alloc(3 * pieceBytes))]).toHaveLength(3);
  expect([...sealer.end()]).toHaveLength(2);
});
