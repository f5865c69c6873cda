/**
 * The blob store: where mail bytes are. One interface for all kinds of storage; what the bytes mean, and that they are
 * sealed, is no business of it.
 *
 * A blob is written once under a name that was never used before, and never changed; but for the few that are a copy of something
 * in Redis, and are written over whole.
 */
import type { Readable } from 'node:stream';

export interface BlobName {
  tenant: string;
  /** Lower-case letters, digits and underscores, five at least. */
  id: string;
}

/** Offsets in bytes, both inclusive. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface ListedBlob extends BlobName {
  /** When it was written, in epoch milliseconds. */
  writtenMs: number;
}

export interface BlobStore {
  /** @throws AppError `storage_failed` where nothing can be written: better at the start than in every fetch. */
  check(): Promise<void>;
  /**
   * Writes a blob as it comes. Nothing is seen of it before it is whole, and it is durable when this resolves. Memory does
   * not grow with its size: a chunk of the source may be empty once the next is asked for, so that none may be held back. What was under the name stays until the new bytes are whole.
   * @throws what the source throws; AppError `storage_failed` when the storage refuses. Nothing is left behind.
   */
  write(name: BlobName, source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void>;
  /** The blob's bytes, or those of a range within it; null where there is no such blob. */
  open(name: BlobName, range?: ByteRange): Promise<Readable | null>;
  /** The bytes of a range within it, in memory: for few of them, as a stream costs more than they do. Null where there is no such blob. */
  read(name: BlobName, range: ByteRange): Promise<Buffer | null>;
  /** Its last bytes, all of a shorter one; null where there is no such blob. */
  readTail(name: BlobName, bytes: number): Promise<Buffer | null>;
  has(name: BlobName): Promise<boolean>;
  /** Nothing happens where it is not there. */
  delete(name: BlobName): Promise<void>;
  /** All blobs that were written before a time (epoch, milliseconds), in no order. */
  list(beforeMs: number): AsyncIterable<ListedBlob>;
  /** Takes away what writers that have died left half written, where it is older than the time. */
  discardUnfinished(beforeMs: number): Promise<void>;
}
