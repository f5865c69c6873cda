/** The blob store: where mail bytes are. One interface for all kinds of storage. */
import type { Readable } from 'node:stream';

export interface BlobName {
  tenant: string;
  /** The id of the message. */
  id: string;
  kind: 'raw' | 'content';
}

/** Offsets in bytes, both inclusive. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface BlobStore {
  /**
   * Writes a blob as it comes, before its name is known; durable when this resolves. Memory does not grow with its size: a
   * chunk of the source may be empty once the next is asked for, so that none may be held back.
   * @throws what the source throws; AppError `storage_failed` when the storage refuses. Nothing is left behind.
   */
  write(tenant: string, source: AsyncIterable<Uint8Array>): Promise<BlobDraft>;
  /** The blob's bytes, or those of a range within it; null where there is no such blob. */
  open(name: BlobName, range?: ByteRange): Promise<Readable | null>;
  has(name: BlobName): Promise<boolean>;
  delete(name: BlobName): Promise<void>;
  /**
   * Deletes what was last written before `beforeMs` (epoch) and belongs to no live message. Resolves with how many blobs
   * that were.
   */
  sweep(beforeMs: number, isLive: (tenant: string, id: string) => Promise<boolean>): Promise<number>;
}

export interface BlobDraft {
  bytes: number;
  /** SHA-256 in hex. */
  sha256: string;
  /** The bytes just written. */
  open(): Promise<Readable>;
  /** Gives the blob its name, in place of what had it; durable when this resolves. */
  keep(name: Omit<BlobName, 'tenant'>): Promise<void>;
  discard(): Promise<void>;
}
