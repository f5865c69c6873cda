import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gatherPieces } from '../../../src/message/blobs/blob-pieces.ts';

test('pieces are what came, all of one size but the last, whatever the chunks and whatever becomes of them', async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 100_000 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(sizes, fc.integer({ min: 1, max: 70_000 }), async (chunkSizes, pieceBytes) => {
      const whole = Buffer.alloc(
        chunkSizes.reduce((sum, size) => sum + size, 0),
        'the quick brown fox ',
      );
      async function* lend(): AsyncGenerator<Uint8Array> {
        let at = 0;
        for (const size of chunkSizes) {
          const chunk = Uint8Array.from(whole.subarray(at, at + size));
          at += size;
          yield chunk;
          chunk.buffer.transfer(0);
        }
      }
      const pieces: Buffer[] = [];
      for await (const piece of gatherPieces(lend(), pieceBytes)) pieces.push(piece);
      expect(Buffer.concat(pieces).equals(whole)).toBe(true);
      expect(pieces.slice(0, -1).every((piece) => piece.length === pieceBytes)).toBe(true);
      expect(pieces.every((piece) => piece.length > 0 && piece.length <= pieceBytes)).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('a small blob takes up little memory, and one that comes byte by byte is not copied over and over', async () => {
  const one = [Buffer.from('x')];
  for await (const piece of gatherPieces(one, 5 * 1024 * 1024)) expect(piece.buffer.byteLength).toBeLessThan(20_000);
  const bytes = Array.from({ length: 100_000 }, () => one[0]!);
  for await (const piece of gatherPieces(bytes, 5 * 1024 * 1024)) {
    expect([piece.length, piece.buffer.byteLength]).toEqual([100_000, 131_072]);
  }
});

test('a source is ended when its pieces are no longer wanted', async () => {
  let isEnded = false;
  async function* source(): AsyncGenerator<Buffer> {
    try {
      for (;;) yield Buffer.alloc(1000);
    } finally {
      isEnded = true;
    }
  }
  for await (const piece of gatherPieces(source(), 1000)) {
    expect(piece).toHaveLength(1000);
    break;
  }
  expect(isEnded).toBe(true);
});
