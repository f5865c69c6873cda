/** What the file system refuses, or is about to, as the error that a blob store throws. */
import { statfs } from 'node:fs/promises';
import { AppError, toError } from '../../errors.ts';
import { blobStoreFailed } from './blob-error.ts';

const MAKE_ROOM = 'make room, or keep mail for fewer days (POPBRIDGE_RETENTION_DAYS)';

/** @throws AppError `storage_failed` for whatever `work` throws; one that it has thrown itself stays as it is. */
export async function guardFileSystem<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof AppError ? error : blobStoreFailed(adviseOn(error), error);
  }
}

/** @throws AppError `storage_failed` where the file system has less left than that, in bytes. */
export async function checkFreeSpace(folder: string, freeBytesMin: number): Promise<void> {
  const { blocks, bavail, bsize } = await statfs(folder);
  // Some file systems over the network do not tell their size.
  if (blocks === 0 || bavail * bsize >= freeBytesMin) return;
  const [free, least] = [bavail * bsize, freeBytesMin].map((bytes) => Math.floor(bytes / 1024 / 1024));
  throw blobStoreFailed(`The disk has ${free} MiB left, and ${least} MiB are kept free for Redis: ${MAKE_ROOM}`);
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function adviseOn(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? toError(error).message;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return `The disk is full (${code}): ${MAKE_ROOM}`;
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `The file system answered ${code}: is POPBRIDGE_DATA_DIR writable for this user`;
    default:
      return `The file system answered ${code}`;
  }
}
