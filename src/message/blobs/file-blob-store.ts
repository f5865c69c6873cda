/**
 * Blobs as files: written beside their place, synced, then renamed into it, so that a name stands for whole bytes on disk
 * whatever happens in between. Folders are sharded by the id, 1,024 to a tenant.
 *
 * It stops before the disk is full: what else is on it, Redis' append-only file first of all, must still be written.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, opendir, rename, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { dirname, join, resolve } from 'node:path';
import { checkName, checkRange, isTenant, readName } from './blob-name.ts';
import { gatherPieces } from './blob-pieces.ts';
import type { BlobName, BlobStore, ByteRange, ListedBlob } from './blob-store.ts';
import { checkFreeSpace, guardFileSystem, isMissing } from './file-system-error.ts';
import { fileLimits, settledFoldersMax } from './limits.ts';

export interface FileBlobStoreOptions {
  /** Less free space than this, in bytes, and nothing more is written. */
  freeBytesMin?: number;
}

type BlobSource = Parameters<BlobStore['write']>[1];

const DRAFTS = '.drafts';
const EXTENSION = '.blob';
const SHARD = /^[a-z0-9_]{2}$/;

export function createFileBlobStore(folder: string, options: FileBlobStoreOptions = {}): BlobStore {
  const { freeBytesMin = fileLimits.freeBytesMin } = options;
  const root = resolve(folder);
  const drafts = join(root, DRAFTS);
  const settled = new Set<string>();

  return {
    async check() {
      // Without the reserve: a process that cannot start takes away no old mail either.
      await writeDraft([Buffer.from('popbridge')], 0, (path) => rm(path));
    },
    async write(name, source) {
      const path = pathOf(name);
      await writeDraft(source, freeBytesMin, async (draft) => {
        await settleFolder(dirname(path));
        await rename(draft, path);
        try {
          await syncFolder(dirname(path));
        } catch (error) {
          await rm(path, { force: true });
          throw error;
        }
      });
    },
    async open(name, range) {
      checkRange(range);
      const path = pathOf(name);
      return guardFileSystem(async () => {
        const file = await open(path, 'r').catch(nullIfMissing);
        return file && file.createReadStream(range);
      });
    },
    async read(name, range) {
      checkRange(range);
      const path = pathOf(name);
      return guardFileSystem(async () => {
        const file = await open(path, 'r').catch(nullIfMissing);
        return file && readRange(file, range);
      });
    },
    async readTail(name, bytes) {
      const path = pathOf(name);
      return guardFileSystem(async () => {
        const found = await statFile(path);
        if (found === null) return null;
        const file = await open(path, 'r').catch(nullIfMissing);
        return file && buffer(file.createReadStream({ start: Math.max(0, found.size - bytes) }));
      });
    },
    async has(name) {
      const path = pathOf(name);
      return guardFileSystem(async () => (await statFile(path)) !== null);
    },
    async delete(name) {
      const path = pathOf(name);
      await guardFileSystem(() => rm(path, { force: true }));
    },
    list: (beforeMs) => listBlobs(root, beforeMs),
    discardUnfinished: (beforeMs) =>
      guardFileSystem(async () => {
        for await (const name of entriesOf(drafts)) {
          const path = join(drafts, name);
          if (await isOlder(path, beforeMs)) await unlinkIfThere(path);
        }
      }),
  };

  /** Not by the first characters of an id: they may be those of a clock. Nor by the very last: it may be cut short. */
  function pathOf(name: BlobName): string {
    checkName(name);
    return join(root, name.tenant, name.id.slice(-3, -1), `${name.id}${EXTENSION}`);
  }

  /** Writes a file that no name stands for, syncs it, and gives it to `keep`. It is gone when that, or anything, fails. */
  async function writeDraft(
    source: BlobSource,
    reserveBytes: number,
    keep: (path: string) => Promise<void>,
  ): Promise<void> {
    const path = join(drafts, randomUUID());
    const file = await guardFileSystem(async () => {
      await settleFolder(drafts);
      await checkFreeSpace(drafts, reserveBytes);
      return open(path, 'wx', 0o600);
    });
    try {
      await copy(source, file, reserveBytes);
      await guardFileSystem(async () => {
        await file.sync();
        await file.close();
        await keep(path);
      });
    } catch (error) {
      await file.close().catch(() => undefined);
      // What cannot be taken away now is a draft that `discardUnfinished` finds.
      await rm(path, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  async function copy(source: BlobSource, file: FileHandle, reserveBytes: number): Promise<void> {
    let uncheckedBytes = 0;
    for await (const piece of gatherPieces(source, fileLimits.pieceBytes)) {
      await guardFileSystem(async () => {
        if (uncheckedBytes >= fileLimits.freeCheckEveryBytes) {
          await checkFreeSpace(drafts, reserveBytes);
          uncheckedBytes = 0;
        }
        await file.appendFile(piece);
      });
      uncheckedBytes += piece.length;
    }
  }

  /** Makes a folder, and sees to it that it is on disk: who has made it a moment ago may not have come to that yet. */
  async function settleFolder(path: string): Promise<void> {
    const created = await makeFolders(path);
    if (created === undefined && settled.has(path)) return;
    const isAboveRoot = created !== undefined && created.length <= root.length;
    await syncAncestors(path, isAboveRoot ? dirname(created) : root);
    if (settled.size >= settledFoldersMax) settled.clear();
    settled.add(path);
  }
}

/** Fewer bytes where the file ends before. It is closed. */
async function readRange(file: FileHandle, { start, end }: ByteRange): Promise<Buffer> {
  try {
    const bytes = Buffer.allocUnsafe(end - start + 1);
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, start + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  } finally {
    await file.close();
  }
}

/** Resolves with the topmost folder that it has made. */
async function makeFolders(path: string): Promise<string | undefined> {
  try {
    return await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    // Node says ENOENT of a read-only disk when it makes several at once: the last by itself tells why.
    if (isMissing(error)) await mkdir(path, { mode: 0o700 });
    throw error;
  }
}

/** What is not ours is passed over: `lost+found` where a volume is mounted, for one. */
async function* listBlobs(root: string, beforeMs: number): AsyncGenerator<ListedBlob, void> {
  for await (const tenant of entriesOf(root)) {
    if (!isTenant(tenant)) continue;
    for await (const shard of entriesOf(join(root, tenant))) {
      if (!SHARD.test(shard)) continue;
      const folder = join(root, tenant, shard);
      for await (const file of entriesOf(folder)) {
        const name = file.endsWith(EXTENSION) ? readName(tenant, file.slice(0, -EXTENSION.length)) : null;
        const found = name && (await guardFileSystem(() => statFile(join(folder, file))));
        if (found && found.mtimeMs < beforeMs) yield { ...name, writtenMs: found.mtimeMs };
      }
    }
  }
}

/** The names in a folder as they are read, in no order; none where there is no such folder, or it is a file. */
async function* entriesOf(path: string): AsyncGenerator<string, void> {
  const folder = await guardFileSystem(async () => {
    try {
      return await opendir(path, { bufferSize: fileLimits.entriesAtOnce });
    } catch (error) {
      if (isMissing(error) || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return null;
      throw error;
    }
  });
  if (!folder) return;
  try {
    for (;;) {
      const entry = await guardFileSystem(() => folder.read());
      if (!entry) break;
      yield entry.name;
    }
  } finally {
    await folder.close();
  }
}

/** False where it is gone by now, or is no file. */
async function isOlder(path: string, beforeMs: number): Promise<boolean> {
  const file = await statFile(path);
  return file !== null && file.mtimeMs < beforeMs;
}

async function statFile(path: string): Promise<{ mtimeMs: number; size: number } | null> {
  try {
    const found = await stat(path);
    return found.isFile() ? found : null;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function nullIfMissing(error: unknown): null {
  if (isMissing(error)) return null;
  throw error;
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isMissing(error)) throw error; // Another worker takes them away, too.
  }
}

/** A rename or a new folder is on disk only when the folder that holds it is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The folders above `path`, up to and with `top`. */
async function syncAncestors(path: string, top: string): Promise<void> {
  const parent = dirname(path);
  await syncFolder(parent);
  if (parent !== top) await syncAncestors(parent, top);
}
