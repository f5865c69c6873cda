/** Extents: where the sealed pieces of one stream lie in a blob, and how a range of what they hold is read. */
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { BlobStore, ByteRange } from './blobs/blob-store.ts';
import { pieceBytes } from './limits.ts';
import { damaged } from './sealed-bytes.ts';
import { countPieces, openPiece, openTable, tableBytes, type PieceKey } from './sealed-pieces.ts';

export interface Extent {
  /** The id of the blob. */
  blob: string;
  /** Of the first sealed byte within the blob. */
  offset: number;
  /** Sealed bytes. */
  length: number;
  /** Bytes that were sealed. */
  size: number;
}

/**
 * The bytes of an extent, or of a range of them, with the memory of a piece.
 * @returns null where the blob is gone. @throws AppError `storage_failed`; what comes later is an error of the stream.
 */
export async function openExtent(
  blobs: Pick<BlobStore, 'open'>,
  extent: Extent,
  key: PieceKey,
  range: ByteRange = { start: 0, end: extent.size - 1 },
): Promise<Readable | null> {
  const name = { tenant: key.tenant, id: extent.blob };
  const count = countPieces(extent.size);
  const read = (start: number, end: number): Promise<Readable | null> =>
    blobs.open(name, { start: extent.offset + start, end: extent.offset + end - 1 });

  let starts = [0, extent.length];
  if (count > 1) {
    const table = await read(extent.length - tableBytes(count), extent.length);
    if (!table) return null;
    starts = openTable(key, await buffer(table));
  }
  const [first, last] = [Math.floor(range.start / pieceBytes), Math.floor(Math.max(range.end, 0) / pieceBytes)];
  const sealed = await read(starts[first] ?? 0, starts[last + 1] ?? 0);
  if (!sealed) return null;
  // It may break before anybody reads, as where a message waits for its parser: that is found out by who does read.
  sealed.on('error', () => undefined);
  const wanted = { start: range.start - first * pieceBytes, length: range.end - range.start + 1 };
  const opened = Readable.from(openPieces(sealed, key, { starts, first, last }, wanted), { objectMode: false });
  // A generator that was never asked for anything has no `finally` to run.
  return opened.once('close', () => sealed.destroy());
}

/** All bytes of an extent: of a piece without the work of streams, which is several times that of opening it. */
export async function readExtent(
  blobs: Pick<BlobStore, 'open' | 'read'>,
  extent: Extent,
  key: PieceKey,
): Promise<Buffer | null> {
  if (countPieces(extent.size) > 1) {
    const stream = await openExtent(blobs, extent, key);
    return stream && buffer(stream);
  }
  const { offset: start, length } = extent;
  const sealed = await blobs.read({ tenant: key.tenant, id: extent.blob }, { start, end: start + length - 1 });
  if (sealed && sealed.length < length) throw damaged();
  return sealed && openPiece(key, 0, sealed);
}

async function* openPieces(
  sealed: Readable,
  key: PieceKey,
  { starts, first, last }: { starts: readonly number[]; first: number; last: number },
  wanted: { start: number; length: number },
): AsyncGenerator<Buffer, void> {
  let [skip, left] = [wanted.start, wanted.length];
  let index = first;
  for await (const piece of split(sealed, starts.slice(first, last + 2))) {
    const plain = openPiece(key, index, piece).subarray(skip);
    yield plain.subarray(0, left);
    left -= Math.min(plain.length, left);
    skip = 0;
    index += 1;
  }
}

/** The stream cut at the given places, which count from its first. */
async function* split(source: Readable, places: readonly number[]): AsyncGenerator<Buffer, void> {
  const lengths = places.slice(1).map((place, index) => place - (places[index] ?? 0));
  let held: Buffer[] = [];
  let bytes = 0;
  let wanted = lengths.shift();
  for await (const chunk of source as AsyncIterable<Buffer>) {
    held.push(chunk);
    bytes += chunk.length;
    while (wanted !== undefined && bytes >= wanted) {
      const all = Buffer.concat(held);
      yield all.subarray(0, wanted);
      held = [all.subarray(wanted)];
      bytes -= wanted;
      wanted = lengths.shift();
    }
  }
  if (wanted !== undefined) throw damaged();
}
