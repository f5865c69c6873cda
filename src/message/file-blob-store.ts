/**
 * Blobs as files: written beside their place, synced, then renamed into it, so that a name stands for whole bytes on disk
 * whatever happens in between. Folders are sharded by the id, 1,024 to a tenant.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { AppError, toError } from '../errors.ts';
import type { BlobDraft, BlobName, BlobStore, ByteRange } from './blob-store.ts';
import { draftAgeMsMax, settledFoldersMax } from './limits.ts';

const EXTENSIONS = { raw: 'eml', content: 'json' } as const;
const DRAFTS = '.drafts';
/** Ids are ours, but a path is built from them: nothing else gets through. */
const SAFE_NAME = /^[a-z0-9_]+$/;

type IsLive = Parameters<BlobStore['sweep']>[1];

export function createFileBlobStore(folder: string): BlobStore {
  const root = resolve(folder);
  const settled = new Set<string>();
  const folderOf = (tenant: string, id: string): string => join(root, safe(tenant), safe(id).slice(4, 6));
  const pathOf = ({ tenant, id, kind }: BlobName): string => join(folderOf(tenant, id), `${id}.${EXTENSIONS[kind]}`);

  return {
    async write(tenant, source) {
      const drafts = join(root, DRAFTS);
      const path = join(drafts, randomUUID());
      const written = await guarded(async () => {
        await settleFolder(drafts);
        return open(path, 'wx', 0o600);
      });
      try {
        const { bytes, sha256 } = await copy(source, written);
        await guarded(() => written.sync());
        await written.close();
        return draft(path, bytes, sha256, tenant);
      } catch (error) {
        await written.close().catch(() => undefined);
        await rm(path, { force: true });
        throw error;
      }
    },
    async open(name, range) {
      try {
        return await openStream(pathOf(name), range);
      } catch (error) {
        if (isMissing(error)) return null;
        throw storageFailed(error);
      }
    },
    has: (name) =>
      guarded(async () => {
        try {
          return (await stat(pathOf(name))).isFile();
        } catch (error) {
          if (isMissing(error)) return false;
          throw error;
        }
      }),
    delete: (name) => guarded(() => rm(pathOf(name), { force: true })),
    sweep: (beforeMs, isLive) => guarded(() => sweep(root, beforeMs, isLive)),
  };

  /** Makes a folder, and sees to it that it is on disk: who has made it a moment ago may not have come to that yet. */
  async function settleFolder(path: string): Promise<void> {
    const created = await mkdir(path, { recursive: true, mode: 0o700 });
    if (created === undefined && settled.has(path)) return;
    const isAboveRoot = created !== undefined && created.length <= root.length;
    await syncAncestors(path, isAboveRoot ? dirname(created) : root);
    if (settled.size >= settledFoldersMax) settled.clear();
    settled.add(path);
  }

  function draft(path: string, bytes: number, sha256: string, tenant: string): BlobDraft {
    return {
      bytes,
      sha256,
      open: () => guarded(() => openStream(path)),
      keep: (name) =>
        guarded(async () => {
          const folder = folderOf(tenant, name.id);
          await settleFolder(folder);
          await rename(path, pathOf({ tenant, ...name }));
          await syncFolder(folder);
        }),
      discard: () => guarded(() => rm(path, { force: true })),
    };
  }
}

async function copy(source: AsyncIterable<Uint8Array>, file: FileHandle): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of source) {
    hash.update(chunk);
    await guarded(() => file.appendFile(chunk));
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

async function openStream(path: string, range?: ByteRange): Promise<Readable> {
  const file = await open(path, 'r');
  return file.createReadStream(range);
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

async function sweep(root: string, beforeMs: number, isLive: IsLive): Promise<number> {
  let deleted = 0;
  for (const tenant of await list(root)) {
    if (tenant === DRAFTS) {
      await sweepFolder(join(root, tenant), Math.min(beforeMs, Date.now() - draftAgeMsMax), async () => false);
      continue;
    }
    // Not ours: `lost+found` where a volume is mounted, for one.
    if (!SAFE_NAME.test(tenant)) continue;
    const isBlobLive = (file: string): Promise<boolean> => isLive(tenant, file.slice(0, file.indexOf('.')));
    for (const shard of await list(join(root, tenant)))
      deleted += await sweepFolder(join(root, tenant, shard), beforeMs, isBlobLive);
  }
  return deleted;
}

async function sweepFolder(
  folder: string,
  beforeMs: number,
  isLive: (file: string) => Promise<boolean>,
): Promise<number> {
  let deleted = 0;
  for (const name of await list(folder)) {
    const path = join(folder, name);
    try {
      if ((await stat(path)).mtimeMs >= beforeMs || (await isLive(name))) continue;
      await unlink(path);
      deleted += 1;
    } catch (error) {
      if (!isMissing(error)) throw error; // Another worker sweeps too.
    }
  }
  return deleted;
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function safe(part: string): string {
  if (!SAFE_NAME.test(part)) throw new AppError('internal_error', 'A blob name holds a character that it must not.');
  return part;
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storageFailed(error);
  }
}

function storageFailed(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? toError(error).message;
  const advice = code === 'ENOSPC' || code === 'EDQUOT' ? 'The disk is full' : `The file system answered ${code}`;
  return new AppError('storage_failed', `The blob store failed. ${advice}. Nothing was deleted upstream.`, {
    cause: error,
  });
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
