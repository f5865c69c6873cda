import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobName, BlobStore } from './blob-store.ts';

/** INTERIM, replaced by the branch of the blob stores. */
export function createFileBlobStore(folder: string): BlobStore {
  const pathOf = ({ tenant, id }: BlobName): string => join(folder, tenant, id.slice(4, 6), `${id}.blob`);
  return {
    async check() {
      await mkdir(folder, { recursive: true });
    },
    async write(name, source) {
      const draft = join(folder, '.drafts', randomUUID());
      await mkdir(join(folder, '.drafts'), { recursive: true });
      const file = await open(draft, 'wx');
      try {
        for await (const chunk of source) await file.appendFile(chunk);
        await file.sync();
        await file.close();
        await mkdir(join(folder, name.tenant, name.id.slice(4, 6)), { recursive: true });
        await rename(draft, pathOf(name));
      } catch (error) {
        await file.close().catch(() => undefined);
        await rm(draft, { force: true });
        throw error;
      }
    },
    async open(name, range) {
      const file = await open(pathOf(name), 'r').catch(() => null);
      return file && file.createReadStream(range);
    },
    has: (name) =>
      stat(pathOf(name)).then(
        () => true,
        () => false,
      ),
    delete: (name) => rm(pathOf(name), { force: true }),
    async *list(beforeMs) {
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !entry.name.endsWith('.blob')) continue;
        if ((await stat(join(entry.parentPath, entry.name))).mtimeMs >= beforeMs) continue;
        yield { tenant: entry.parentPath.split('/').at(-2) ?? '', id: entry.name.slice(0, -5) };
      }
    },
    async discardUnfinished() {},
  };
}
