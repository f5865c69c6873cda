/**
 * Ledger entries as bytes. A mailbox may have a hundred thousand of them, so an entry takes some forty bytes rather than the hundreds
 * of its JSON: numbers are varints (LEB128), the message id is left out where it follows from the unique-id, and the whole is
 * compressed, sorted by key, as servers count their unique-ids up.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { AppError } from '../errors.ts';
import { ledgerBytesMax, marksMax } from './limits.ts';
import type { LedgerEntry, SkipReason } from './ledger.ts';

const VERSION = 1;
const STATES: readonly LedgerEntry['state'][] = ['stored', 'skipped', 'oversize', 'suspect', 'deleted'];
const REASONS: readonly SkipReason[] = ['before_first_fetch', 'filter_size', 'filter_headers'];
const FLAGS = { digest: 8, ownId: 16, absent: 32, released: 64 } as const;
const STATE_MASK = 7;
/** Seconds; times are counted from here, which saves a byte. */
const EPOCH = 1_700_000_000;
/** Of a digest that is kept: 96 bits tell any two mails of a mailbox apart. */
export const digestBytes = 12;

export function encodeEntry(entry: LedgerEntry): Buffer {
  const writer = new Writer();
  writeEntry(writer, entry);
  return writer.take();
}

/** Keys and entries in turn, no more at once than a script should be given. */
export function* markBatches(entries: ReadonlyMap<string, LedgerEntry>): Generator<(string | Buffer)[], void> {
  let fields: (string | Buffer)[] = [];
  for (const [key, entry] of entries) {
    fields.push(key, encodeEntry(entry));
    if (fields.length < 2 * marksMax) continue;
    yield fields;
    fields = [];
  }
  if (fields.length > 0) yield fields;
}

/** @throws AppError `storage_failed` where the bytes are none of ours. */
export function decodeEntry(bytes: Buffer): LedgerEntry {
  return readEntry(new Reader(bytes));
}

export function encodeLedger(entries: ReadonlyMap<string, LedgerEntry>): Buffer {
  const writer = new Writer();
  for (const key of [...entries.keys()].sort()) {
    const entry = entries.get(key);
    if (entry === undefined) continue;
    writer.text(key);
    writeEntry(writer, entry);
  }
  const packed = zstdCompressSync(writer.take(), { params: { [constants.ZSTD_c_compressionLevel]: 3 } });
  return Buffer.concat([Uint8Array.of(VERSION), packed]);
}

/** @throws AppError `storage_failed` where the bytes are none of ours. */
export function decodeLedger(bytes: Buffer): Map<string, LedgerEntry> {
  const entries = new Map<string, LedgerEntry>();
  if (bytes[0] !== VERSION) throw damaged();
  const reader = new Reader(unpack(bytes.subarray(1)));
  while (!reader.isDone) {
    const key = reader.text();
    entries.set(key, readEntry(reader));
  }
  return entries;
}

function unpack(bytes: Buffer): Buffer {
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: ledgerBytesMax });
  } catch (error) {
    throw damaged(error);
  }
}

function writeEntry(writer: Writer, entry: LedgerEntry): void {
  const { state, at, bytes, absent } = entry;
  const { digest = null, ownId = null } = state === 'stored' || state === 'deleted' ? entry : {};
  const isReleased = state === 'stored' && entry.isReleased;
  writer.byte(
    STATES.indexOf(state) |
      (digest === null ? 0 : FLAGS.digest) |
      (ownId === null ? 0 : FLAGS.ownId) |
      (absent === null ? 0 : FLAGS.absent) |
      (isReleased ? FLAGS.released : 0),
  );
  writer.varint(at - EPOCH);
  writer.varint(bytes === null ? 0 : bytes + 1);
  if (state === 'stored') writer.varint(entry.keptUntil - at);
  if (state === 'skipped') {
    writer.byte(REASONS.indexOf(entry.reason));
    if (entry.reason !== 'before_first_fetch') writer.varint(entry.filter);
  }
  if (state === 'oversize') writer.byte(entry.broke);
  if (digest !== null) writer.raw(Buffer.from(digest, 'hex'));
  if (ownId !== null) writer.text(ownId);
  if (absent !== null) {
    writer.varint(absent.listings);
    writer.varint(absent.since - EPOCH);
  }
}

function readEntry(reader: Reader): LedgerEntry {
  const flags = reader.byte();
  const state = STATES[flags & STATE_MASK];
  if (state === undefined) throw damaged();
  const at = reader.varint() + EPOCH;
  const size = reader.varint();
  const keptFor = state === 'stored' ? reader.varint() : 0;
  const small = state === 'skipped' || state === 'oversize' ? reader.byte() : 0;
  const reason = state === 'skipped' ? REASONS[small] : 'before_first_fetch';
  if (reason === undefined) throw damaged();
  const filter = reason === 'before_first_fetch' ? 0 : reader.varint();
  const digest = flags & FLAGS.digest ? reader.raw(digestBytes).toString('hex') : null;
  const ownId = flags & FLAGS.ownId ? reader.text() : null;
  const absent = flags & FLAGS.absent ? { listings: reader.varint(), since: reader.varint() + EPOCH } : null;
  const known = { at, bytes: size === 0 ? null : size - 1, absent };
  if (state === 'stored') {
    return { ...known, state, ownId, digest, keptUntil: at + keptFor, isReleased: (flags & FLAGS.released) !== 0 };
  }
  if (state === 'deleted') return { ...known, state, ownId, digest };
  if (state === 'skipped') return { ...known, state, reason, filter };
  return state === 'oversize' ? { ...known, state, broke: small } : { ...known, state };
}

class Writer {
  #bytes = Buffer.allocUnsafe(256);
  #length = 0;

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#length] = value;
    this.#length += 1;
  }

  varint(value: number): void {
    let rest = Math.max(0, Math.floor(value));
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.byte(rest);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  text(value: string): void {
    const bytes = Buffer.from(value);
    this.varint(bytes.length);
    this.raw(bytes);
  }

  take(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(2 * this.#bytes.length + bytes);
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined) throw damaged();
    this.#at += 1;
    return value;
  }

  varint(): number {
    let value = 0;
    for (let factor = 1; factor < Number.MAX_SAFE_INTEGER; factor *= 0x80) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw damaged();
  }

  raw(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw damaged();
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }

  text(): string {
    return this.raw(this.varint()).toString();
  }
}

function damaged(cause?: unknown): AppError {
  return new AppError(
    'storage_failed',
    'The ledger of a mailbox is damaged. Nothing was retrieved, and nothing deleted.',
    {
      cause,
    },
  );
}
