/**
 * The form in which bytes lie in a blob: pieces of 64 KiB, each compressed where that pays and sealed by itself (AES-256-GCM,
 * NIST SP 800-38D), so that a range is read without the rest. It knows no blob store; see `extent.ts`.
 *
 * A piece is sealed as one byte that says how it is packed, and the bytes. Its nonce is its place, which the key, made for
 * one message and used for nothing else, allows. Where there are several, a table of their sealed lengths follows, sealed alike.
 */
import { constants, deflateRawSync, inflateRawSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { compressionGainMin, deflatedBytesMax, pieceBytes } from './limits.ts';
import { NONCE_BYTES, openBytes, sealBytes, TAG_BYTES, type Seal } from './sealed-bytes.ts';

/** What is sealed under a message's key: the raw bytes and the content are two streams of pieces. */
export type StreamKind = 'raw' | 'content';

export interface PieceKey {
  /** 32 bytes, of one message and one storing of it. */
  key: Buffer;
  kind: StreamKind;
  tenant: string;
}

/** Of a sealed piece: the byte that says how it is packed, and the tag. */
const OVERHEAD_BYTES = 1 + TAG_BYTES;
const TABLE_INDEX = 0xff_ff_ff_ff;
const ENTRY_BYTES = 4;
const KIND_BYTES: Readonly<Record<StreamKind, number>> = { raw: 1, content: 2 };
const PACKED = { plain: 0, zstd: 1, deflate: 2 } as const;

interface Packed {
  readonly how: number;
  readonly bytes: Buffer;
}
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

export function countPieces(size: number): number {
  return Math.max(1, Math.ceil(size / pieceBytes));
}

/** Of the table of `count` pieces. */
export function tableBytes(count: number): number {
  return count === 1 ? 0 : count * ENTRY_BYTES + OVERHEAD_BYTES;
}

/** What is given in is copied, and comes out sealed as soon as a piece is full. */
export class PieceSealer {
  readonly #key: PieceKey;
  readonly #lengths: number[] = [];
  #filled = 0;
  /** Of the piece that is being filled. A small message has no use for the memory of a whole one. */
  #parts: Buffer[] = [];

  constructor(key: PieceKey) {
    this.#key = key;
  }

  *add(chunk: Uint8Array): Generator<Buffer, void> {
    for (let start = 0; start < chunk.length;) {
      // Full only once more comes: the last piece may be full, too.
      if (this.#filled === pieceBytes) yield this.#seal();
      const part = chunk.subarray(start, start + pieceBytes - this.#filled);
      this.#parts.push(Buffer.from(part));
      this.#filled += part.length;
      start += part.length;
    }
  }

  *end(): Generator<Buffer, void> {
    yield this.#seal();
    if (this.#lengths.length === 1) return;
    const table = Buffer.alloc(this.#lengths.length * ENTRY_BYTES);
    for (const [index, length] of this.#lengths.entries()) table.writeUInt32BE(length, index * ENTRY_BYTES);
    yield sealBytes(sealOf(this.#key, TABLE_INDEX), Uint8Array.of(PACKED.plain), table);
  }

  #seal(): Buffer {
    const [first = Buffer.alloc(0)] = this.#parts;
    const plain = this.#parts.length > 1 ? Buffer.concat(this.#parts, this.#filled) : first;
    const packed = compress(plain);
    const sealed = sealBytes(sealOf(this.#key, this.#lengths.length), Uint8Array.of(packed.how), packed.bytes);
    this.#lengths.push(sealed.length);
    this.#filled = 0;
    this.#parts = [];
    return sealed;
  }
}

/** One piece of a small stream, whole. */
export function sealSmall(plain: Uint8Array, key: PieceKey): Buffer[] {
  const sealer = new PieceSealer(key);
  return [...sealer.add(plain), ...sealer.end()];
}

/** @throws AppError `storage_failed` where the bytes are not those that were sealed. */
export function openPiece(key: PieceKey, index: number, sealed: Buffer): Buffer {
  const opened = openBytes(sealOf(key, index), sealed);
  const bytes = opened.subarray(1);
  const bound = { maxOutputLength: pieceBytes };
  if (opened[0] === PACKED.zstd) return zstdDecompressSync(bytes, bound);
  return opened[0] === PACKED.deflate ? inflateRawSync(bytes, bound) : bytes;
}

/** Where the pieces begin, and last where they end, counted from the first. @throws AppError `storage_failed`. */
export function openTable(key: PieceKey, sealed: Buffer): number[] {
  const table = openBytes(sealOf(key, TABLE_INDEX), sealed).subarray(1);
  const starts = [0];
  for (let at = 0; at < table.length; at += ENTRY_BYTES) starts.push((starts.at(-1) ?? 0) + table.readUInt32BE(at));
  return starts;
}

/** Of a few kilobytes deflate makes the same in half the time: zstd has more to set up. */
function compress(plain: Buffer): Packed {
  const packed =
    plain.length <= deflatedBytesMax
      ? { how: PACKED.deflate, bytes: deflateRawSync(plain, { ...SMALL, chunkSize: Math.max(64, plain.length) }) }
      : { how: PACKED.zstd, bytes: zstdCompressSync(plain, LEVEL) };
  const pays = packed.bytes.length <= plain.length * (1 - compressionGainMin);
  return pays ? packed : { how: PACKED.plain, bytes: plain };
}

/** As much memory as what is deflated needs: to clear more takes longer than to deflate it. */
const SMALL = { level: 1, windowBits: 14, memLevel: 7 };

function sealOf(key: PieceKey, index: number): Seal {
  return { key: key.key, nonce: nonceOf(key, index), context: Buffer.from(key.tenant) };
}

function nonceOf({ kind }: PieceKey, index: number): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce[0] = KIND_BYTES[kind];
  nonce.writeUInt32BE(index, NONCE_BYTES - 4);
  return nonce;
}
