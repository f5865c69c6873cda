/** The files of a winmail.dat: what is known of each, or the bytes of one. */
import { createHash } from 'node:crypto';
import { detectContentType } from './detection.ts';
import { detectionBytesMax } from './limits.ts';
import { readTnef, type TnefFile, type TnefOutcome } from './tnef.ts';

export interface UnpackedFile extends TnefFile {
  /** Counts from 1 within the winmail.dat. */
  readonly ordinal: number;
  readonly size: number;
  readonly sha256: string;
  readonly detectedContentType: string | null;
}

export interface Unpacked {
  readonly outcome: TnefOutcome;
  readonly files: readonly UnpackedFile[];
}

/** Whether an attachment may be one. Not every sender gives it the type; of its name there are variants. */
export function mayBeTnef(contentType: string, filename: string | undefined): boolean {
  return isTnefType(contentType) || /^win(?:mail)?\d{0,3}\.dat$/i.test(filename ?? '');
}

export function isTnefType(contentType: string): boolean {
  return /^application\/(?:vnd\.)?ms-tnef$/i.test(contentType);
}

/** May leave the rest of `content`. */
export async function unpackTnef(content: AsyncIterable<Uint8Array>): Promise<Unpacked> {
  const items = readTnef(content);
  const files: UnpackedFile[] = [];
  let ordinal = 0;
  let size = 0;
  let hash = createHash('sha256');
  let first: Buffer = Buffer.alloc(0);
  for (;;) {
    const { done, value } = await items.next();
    if (done === true) return { outcome: value, files };
    if (value.kind === 'begin') {
      [ordinal, size, hash, first] = [ordinal + 1, 0, createHash('sha256'), Buffer.alloc(0)];
    } else if (value.kind === 'bytes') {
      size += value.bytes.length;
      hash.update(value.bytes);
      const wanted = detectionBytesMax - first.length;
      if (wanted > 0) first = Buffer.concat([first, value.bytes.subarray(0, wanted)]);
    } else {
      const detectedContentType = await detectContentType(first);
      files.push({ ...value.file, ordinal, size, sha256: hash.digest('hex'), detectedContentType });
    }
  }
}

/** The bytes of one file; null where there is none of that ordinal. They fail with what `content` fails with. */
export async function openTnefFile(
  content: AsyncIterable<Uint8Array>,
  ordinal: number,
): Promise<AsyncIterable<Buffer> | null> {
  const items = readTnef(content);
  for (let left = ordinal; left > 0;) {
    const { done, value } = await items.next();
    if (done === true) return null;
    if (value.kind === 'begin') left -= 1;
  }
  return bytesToEnd(items);
}

async function* bytesToEnd(items: ReturnType<typeof readTnef>): AsyncGenerator<Buffer, void> {
  for await (const item of items) {
    if (item.kind === 'end') return;
    if (item.kind === 'bytes') yield item.bytes;
  }
}
