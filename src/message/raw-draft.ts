/**
 * Raw bytes as they come from the server: hashed and sealed on their way, so that what is kept in memory of a message does not
 * grow with it. A small one waits, sealed, for its pack; a larger one is a blob of its own by the time this is through.
 */
import { createHash, randomBytes, type Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { blobId } from '../identity.ts';
import type { BlobStore } from './blobs/blob-store.ts';
import { openExtent } from './extent.ts';
import { heldBytesMax, packedBytesMax } from './limits.ts';
import { damaged } from './sealed-bytes.ts';
import { PieceSealer, type PieceKey } from './sealed-pieces.ts';

export interface RawDraft {
  /** Of the raw message. */
  bytes: number;
  /** SHA-256 in hex. */
  sha256: string;
  /** The message for the parser: its bytes, which are given away; of a large one, a stream out of its blob. */
  open(): Promise<Uint8Array | Readable>;
  /** 32 bytes, under which raw bytes and content are sealed. */
  key: Buffer;
  /** Where the sealed bytes are. */
  place: { blob: string; length: number } | { pieces: readonly Buffer[] };
  /** Takes away what was written; not to be called once a record stands for it. */
  discard(): Promise<void>;
}

/** @throws what the source throws; AppError `storage_failed`. Nothing is left behind. */
export async function writeRaw(blobs: BlobStore, tenant: string, source: AsyncIterable<Uint8Array>): Promise<RawDraft> {
  const key: PieceKey = { key: randomBytes(32), kind: 'raw', tenant };
  const intake = new Intake(source, key);
  await intake.readSmall();
  if (!intake.isLarge) {
    const place = { pieces: intake.takeSealed() };
    const plain = intake.takePlain() ?? new Uint8Array();
    return { ...intake.facts(), key: key.key, place, open: async () => plain, discard: async () => {} };
  }
  const name = { tenant, id: blobId(randomBytes) };
  await blobs.write(name, intake.stream());
  const facts = intake.facts();
  const plain = intake.takePlain();
  const extent = { blob: name.id, offset: 0, length: intake.sealedBytes, size: facts.bytes };
  return {
    ...facts,
    key: key.key,
    place: { blob: name.id, length: intake.sealedBytes },
    async open() {
      if (plain !== null) return plain;
      const stream = await openExtent(blobs, extent, key);
      if (!stream) throw damaged();
      return stream;
    },
    discard: () => blobs.delete(name),
  };
}

/** Reads the source, and remembers of it what a small message needs. */
class Intake {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #sealer: PieceSealer;
  readonly #hash: Hash = createHash('sha256');
  /** What was read; null where that is too much to be held. */
  #plain: Buffer[] | null = [];
  #sealed: Buffer[] = [];
  #bytes = 0;
  sealedBytes = 0;
  isLarge = false;

  constructor(source: AsyncIterable<Uint8Array>, key: PieceKey) {
    this.#source = source[Symbol.asyncIterator]();
    this.#sealer = new PieceSealer(key);
  }

  /** To the end, or until it is too large for a pack. */
  async readSmall(): Promise<void> {
    for (;;) {
      const chunk = await this.#next();
      if (chunk === null) {
        this.#sealed.push(...this.#sealer.end());
        return;
      }
      this.#sealed.push(...this.#sealer.add(chunk));
      if (this.isLarge) return;
    }
  }

  /** All of it, sealed: what was read by then and what comes. */
  async *stream(): AsyncGenerator<Buffer, void> {
    let isWhole = false;
    try {
      yield* this.#counted(this.takeSealed());
      for (let chunk = await this.#next(); chunk !== null; chunk = await this.#next()) {
        yield* this.#counted(this.#sealer.add(chunk));
      }
      yield* this.#counted(this.#sealer.end());
      isWhole = true;
    } finally {
      if (!isWhole) await this.#source.return?.();
    }
  }

  facts(): { bytes: number; sha256: string } {
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') };
  }

  /** Null where it is too large to be held. */
  takePlain(): Uint8Array | null {
    if (this.#plain === null) return null;
    const plain = new Uint8Array(this.#bytes);
    let at = 0;
    for (const chunk of this.#plain.splice(0)) {
      plain.set(chunk, at);
      at += chunk.length;
    }
    return plain;
  }

  takeSealed(): Buffer[] {
    return this.#sealed.splice(0);
  }

  async #next(): Promise<Uint8Array | null> {
    const { done, value } = await this.#source.next();
    if (done === true) return null;
    this.#hash.update(value);
    this.#bytes += value.length;
    this.isLarge = this.#bytes > packedBytesMax;
    if (this.#bytes > heldBytesMax) this.#plain = null;
    this.#plain?.push(Buffer.from(value));
    return value;
  }

  *#counted(pieces: Iterable<Buffer>): Generator<Buffer, void> {
    for (const piece of pieces) {
      this.sealedBytes += piece.length;
      yield piece;
    }
  }
}
