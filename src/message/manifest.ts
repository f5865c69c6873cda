/**
 * The manifest: the sealed records of a pack's messages, which are its last bytes, so that what Redis has lost is found again. Where
 * in a blob bytes lie counts from its start, so that no other reader meets it.
 *
 * Form: for each message the length of its id in a byte, the id, the length of its record in four, the record; then the length of all
 * that in four bytes, and a mark.
 */
import type { BlobName, BlobStore } from './blobs/blob-store.ts';
import { manifestBytesMax, manifestTailBytes } from './limits.ts';
import { damaged } from './sealed-bytes.ts';

export interface SealedRecord {
  /** Of the message. */
  id: string;
  /** As it lies in Redis. */
  sealed: Buffer;
}

const MARK = Buffer.from('popbrdg1');
const LENGTH_BYTES = 4;
const FOOTER_BYTES = LENGTH_BYTES + MARK.length;

export function encodeManifest(records: readonly SealedRecord[]): Buffer {
  const parts = records.flatMap(({ id, sealed }) => [
    Uint8Array.of(id.length),
    Buffer.from(id, 'latin1'),
    uint32(sealed.length),
    sealed,
  ]);
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([...parts, uint32(bytes), MARK]);
}

/**
 * Null where the blob has none, or is gone: an older version has written it, or it holds the bytes of one large message.
 * @throws AppError `storage_failed`.
 */
export async function readManifest(blobs: BlobStore, name: BlobName): Promise<SealedRecord[] | null> {
  let tail = await blobs.readTail(name, manifestTailBytes);
  if (!tail?.subarray(-MARK.length).equals(MARK)) return null;
  const bytes = tail.readUInt32BE(tail.length - FOOTER_BYTES);
  if (bytes > manifestBytesMax) throw damaged();
  if (tail.length < bytes + FOOTER_BYTES) tail = await blobs.readTail(name, bytes + FOOTER_BYTES);
  if (!tail) return null;
  if (tail.length < bytes + FOOTER_BYTES) throw damaged();
  return decodeEntries(tail.subarray(tail.length - FOOTER_BYTES - bytes, tail.length - FOOTER_BYTES));
}

function decodeEntries(manifest: Buffer): SealedRecord[] {
  const records: SealedRecord[] = [];
  const take = (at: number, length: number): Buffer => {
    if (at + length > manifest.length) throw damaged();
    return manifest.subarray(at, at + length);
  };
  for (let at = 0; at < manifest.length;) {
    const id = take(at + 1, manifest.readUInt8(at)).toString('latin1');
    at += 1 + id.length;
    const length = take(at, LENGTH_BYTES).readUInt32BE();
    records.push({ id, sealed: take(at + LENGTH_BYTES, length) });
    at += LENGTH_BYTES + length;
  }
  return records;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(LENGTH_BYTES);
  bytes.writeUInt32BE(value);
  return bytes;
}
