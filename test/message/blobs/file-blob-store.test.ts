import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createFileBlobStore } from '../../../src/message/blobs/file-blob-store.ts';
import { openFiles } from '../../support/open-files.ts';
import { chunks, createHeldSource, describeBlobStore, lent, listAll, NAME, read } from './blob-store-suite.ts';

const run = promisify(execFile);
const WRITER = fileURLToPath(new URL('blob-writer.ts', import.meta.url));
const MIB = 1024 * 1024;

async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function makeFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'popbridge-test-'));
}

describeBlobStore('files', async () => {
  const folder = await makeFolder();
  return {
    store: createFileBlobStore(folder),
    list: () => listFiles(folder),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
});

/** A mount that nobody else sees needs a namespace: root, or a kernel that lets users have their own. */
async function findNamespace(): Promise<string[] | null> {
  for (const flags of [['-m'], ['-r', '-m']]) {
    const works = await run('unshare', [...flags, 'sh', '-c', 'mount -t tmpfs none /mnt']).catch(() => null);
    if (works) return flags;
  }
  return null;
}
const namespace = await findNamespace();

describe('blobs as files', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await makeFolder();
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  test('a writer that is killed in the middle leaves only whole blobs under names', async () => {
    for (let round = 1; round <= 6; round += 1) {
      const child = spawn(process.execPath, [WRITER, 'loop', folder], { stdio: ['ignore', 'pipe', 'inherit'] });
      try {
        let said = '';
        for await (const text of child.stdout.setEncoding('utf8')) {
          said += text;
          if (said.length >= 'writing\n'.length * round * 3) break;
        }
      } finally {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }
      const named = (await listFiles(folder)).filter((path) => path.endsWith('.blob'));
      expect(named.length).toBeGreaterThan(0);
      for (const path of named) {
        const lines = (await readFile(path, 'latin1')).trimEnd().split('\n');
        expect(new Set(lines.map(Number))).toEqual(new Set([lines.length]));
      }
    }
    // What the kills did leave: drafts, which no name stands for.
    expect(await readdir(join(folder, '.drafts'))).not.toEqual([]);
  });

  /** What the writer prints of a task on a file system of its own. */
  async function onDisk(mountOptions: string, ...task: string[]): Promise<Record<string, unknown>> {
    const [name = '', ...rest] = task;
    const script = 'mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"';
    const command = [process.execPath, WRITER, name, folder, ...rest];
    const { stdout } = await run('unshare', [
      ...(namespace ?? []),
      'sh',
      '-c',
      script,
      mountOptions,
      folder,
      ...command,
    ]);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  test.skipIf(namespace === null)(
    'a full disk is storage_failed, and nothing is left of the blob (needs mount namespaces)',
    async () => {
      expect(await onDisk('size=2m', 'fill', '0')).toMatchObject({
        code: 'storage_failed',
        message: expect.stringContaining('The disk is full (ENOSPC): make room') as unknown,
        files: ['blb_small.blob'],
      });
    },
  );

  test.skipIf(namespace === null)(
    'a blob under way stops before it takes the reserve of the disk (needs mount namespaces)',
    async () => {
      const { freeBytesLeast, ...outcome } = await onDisk('size=16m', 'fill', String(8 * MIB));
      expect(outcome).toMatchObject({
        code: 'storage_failed',
        message: expect.stringMatching(
          /The disk has 7 MiB left, and 8 MiB are kept free for Redis: make room/,
        ) as unknown,
        files: ['blb_small.blob'],
      });
      expect(freeBytesLeast).toBeGreaterThan(6 * MIB);
    },
  );

  test('no blob is begun where the disk has less than the reserve left; what is there can be read and deleted', async () => {
    await createFileBlobStore(folder).write(NAME, chunks('x'));
    const store = createFileBlobStore(folder, { freeBytesMin: Number.MAX_SAFE_INTEGER });
    const { source } = createHeldSource(0);
    await expect(store.write({ ...NAME, id: 'blb_00ab' }, source)).rejects.toMatchObject({
      code: 'storage_failed',
      message: expect.stringContaining('kept free for Redis') as unknown,
    });
    // A process that does not start sweeps nothing.
    await store.check();
    expect(await read(store, NAME)).toBe('x');
    await store.delete(NAME);
    expect(await listFiles(folder)).toEqual([]);
  });

  test('mail is readable by its owner alone', async () => {
    await createFileBlobStore(join(folder, 'blobs')).write(NAME, chunks('x'));
    const entries = await readdir(folder, { recursive: true });
    const modes = await Promise.all(entries.map(async (name) => (await stat(join(folder, name))).mode & 0o077));
    expect(modes.length).toBeGreaterThan(3);
    expect(new Set(modes)).toEqual(new Set([0]));
  });

  test('blobs spread over folders, whether their ids differ at the end or begin with the time', async () => {
    const store = createFileBlobStore(folder);
    for (let number = 0; number < 100; number += 1) {
      await store.write({ tenant: 'default', id: `blb_06h0kqfd1${String(number).padStart(2, '0')}0` }, chunks('x'));
    }
    expect(await readdir(join(folder, 'default'))).toHaveLength(100);
    await store.write(NAME, chunks('x'));
    await access(join(folder, 'default', '0a', 'blb_00aa.blob'));
  });

  test('what is not its own is neither listed nor discarded', async () => {
    const store = createFileBlobStore(folder);
    await store.write(NAME, chunks('x'));
    await mkdir(join(folder, 'lost+found', '00'), { recursive: true });
    await writeFile(join(folder, 'lost+found', '00', 'blb_00ab.blob'), 'found by fsck');
    await mkdir(join(folder, 'default', 'backup'));
    for (const path of [
      'README.txt',
      'readme',
      'default/backup/blb_00ac.blob',
      'default/0a/blb_00aa.eml',
      'default/0a/.blob',
      'default/stray.blob',
    ])
      await writeFile(join(folder, path), 'mail of the helpdesk');
    await mkdir(join(folder, 'default', '0a', 'blb_folder.blob'));
    expect(await listAll(store, Date.now() + 60_000)).toEqual(['default/blb_00aa']);
    await store.discardUnfinished(Date.now() + 60_000);
    expect(await listFiles(folder)).toHaveLength(8);
  });

  test('a list goes on where a folder of it is taken away', async () => {
    const store = createFileBlobStore(folder);
    for (const tenant of ['a', 'b', 'c']) await store.write({ ...NAME, tenant }, chunks('x'));
    let listed = 0;
    for await (const { tenant } of store.list(Date.now() + 60_000)) {
      listed += 1;
      for (const other of ['a', 'b', 'c'].filter((name) => name !== tenant))
        await rm(join(folder, other), { recursive: true, force: true });
    }
    expect(listed).toBe(1);
  });

  test('a blob that is deleted while it is read is read to its end', async () => {
    const store = createFileBlobStore(folder);
    await store.write(NAME, lent(4 * MIB));
    const reader = await store.open(NAME);
    await store.delete(NAME);
    let bytes = 0;
    for await (const chunk of reader!) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(4 * MIB);
  });

  test('a reader that gives up gives its file back', async () => {
    const store = createFileBlobStore(folder);
    await store.write(NAME, lent(MIB));
    const path = join(folder, 'default', '0a', 'blb_00aa.blob');
    for (let round = 0; round < 3; round += 1) {
      const reader = (await store.open(NAME))!;
      const held = await openFiles(process.pid);
      // Where there is no /proc, there is nothing to see.
      if (held.length > 0) expect(held).toContain(path);
      const closed = once(reader, 'close');
      reader.destroy();
      await closed;
    }
    expect(await openFiles(process.pid)).not.toContain(path);
  });

  test('a folder that is taken away under a running store is made again', async () => {
    const store = createFileBlobStore(folder);
    await store.write(NAME, chunks('x'));
    await rm(join(folder, 'default'), { recursive: true });
    await store.write(NAME, chunks('y'));
    expect(await listFiles(folder)).toHaveLength(1);
  });

  test('a root that cannot be written to is storage_failed, and says why', async () => {
    await writeFile(join(folder, 'blobs'), 'a file where the folder should be');
    const store = createFileBlobStore(join(folder, 'blobs'));
    const failed = {
      code: 'storage_failed',
      message: expect.stringMatching(/ENOTDIR|EEXIST/) as unknown,
    };
    await expect(store.check()).rejects.toMatchObject(failed);
    await expect(store.write(NAME, chunks('x'))).rejects.toMatchObject(failed);
  });

  test.skipIf(namespace === null)(
    'a root that is read-only says who should look (needs mount namespaces)',
    async () => {
      expect(await onDisk('size=1m,ro', 'check')).toEqual({
        code: 'storage_failed',
        message: expect.stringContaining('EROFS: is POPBRIDGE_DATA_DIR writable for this user') as unknown,
      });
    },
  );
});
