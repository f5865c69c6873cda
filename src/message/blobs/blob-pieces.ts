/** Bytes that come in chunks of any size, as pieces of one size that are ours to keep. */

/** A first piece is no larger than this before it grows: most blobs are small. */
const FIRST_BYTES = 16 * 1024;

/**
 * Gathers a source into pieces of `pieceBytes`, the last one less. Each is a copy: the chunks may be lent, and empty once
 * the next is asked for. No piece is empty, and an empty source gives none.
 */
export async function* gatherPieces(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  pieceBytes: number,
): AsyncGenerator<Buffer, void> {
  let piece = Buffer.alloc(0);
  let filled = 0;
  for await (const chunk of source) {
    for (let taken = 0; taken < chunk.length;) {
      if (filled === pieceBytes) {
        yield piece;
        piece = Buffer.alloc(0);
        filled = 0;
      }
      const wanted = Math.min(pieceBytes, filled + chunk.length - taken);
      if (wanted > piece.length) piece = grow(piece, filled, wanted, pieceBytes);
      const bytes = Math.min(chunk.length - taken, piece.length - filled);
      piece.set(chunk.subarray(taken, taken + bytes), filled);
      filled += bytes;
      taken += bytes;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

/** At least twice as large, so that many small chunks are not copied over and over. */
function grow(piece: Buffer, filled: number, wanted: number, bytesMax: number): Buffer<ArrayBuffer> {
  const grown = Buffer.allocUnsafeSlow(Math.min(bytesMax, Math.max(FIRST_BYTES, piece.length * 2, wanted)));
  piece.copy(grown, 0, 0, filled);
  return grown;
}
