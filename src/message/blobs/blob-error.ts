/** What every blob store says when its storage refuses: one code, what went wrong, and what to do. */
import { AppError } from '../../errors.ts';

/** @param advice what happened and what to do, without a full stop; it is public, and holds no secret. */
export function blobStoreFailed(advice: string, cause?: unknown): AppError<'storage_failed'> {
  return new AppError('storage_failed', `The blob store failed. ${advice}. Nothing was deleted upstream.`, { cause });
}
