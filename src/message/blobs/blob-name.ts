/** Names and ranges, checked before any store builds a path or a key of them. */
import { AppError } from '../../errors.ts';
import { blobNameCharsMax, blobNameCharsMin } from './limits.ts';
import type { BlobName, ByteRange } from './blob-store.ts';

/** Ids are ours, but a path is built from them: nothing else gets through. */
const SAFE_NAME = /^[a-z0-9_]+$/;

/** @throws AppError `internal_error`: whoever made the name or the range is at fault. */
export function checkName({ tenant, id }: BlobName): void {
  if (!isTenant(tenant) || !isBlobId(id)) {
    throw new AppError('internal_error', 'A blob name is too short, too long, or holds a character that it must not.');
  }
}

/** @throws AppError `internal_error`. */
export function checkRange(range: ByteRange | undefined): void {
  if (range === undefined) return;
  const { start, end } = range;
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
    throw new AppError('internal_error', 'A range of a blob does not begin, or ends before it begins.');
  }
}

export function isTenant(text: string): boolean {
  return SAFE_NAME.test(text) && text.length <= blobNameCharsMax;
}

export function isBlobId(text: string): boolean {
  return SAFE_NAME.test(text) && text.length >= blobNameCharsMin && text.length <= blobNameCharsMax;
}

/** Null for what is no name of ours: other things may lie where the blobs are. */
export function readName(tenant: string, id: string): BlobName | null {
  return isTenant(tenant) && isBlobId(id) ? { tenant, id } : null;
}
