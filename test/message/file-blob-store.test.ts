import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createFileBlobStore } from '../../src/message/file-blob-store.ts';
import { draftAgeMsMax } from '../../src/message/limits.ts';
import { chunks, describeBlobStore, put } from './blob-store-suite.ts';

const run = promisify(execFile);
const WRITER = fileURLToPath(new URL('blob-writer.ts', import.meta.url));

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
      const named = (await listFiles(folder)).filter((path) => path.endsWith('.eml'));
      expect(named.length).toBeGreaterThan(0);
      for (const path of named) {
        const lines = (await readFile(path, 'latin1')).trimEnd().split('\n');
        expect(new Set(lines.map(Number))).toEqual(new Set([lines.length]));
      }
    }
    // What the kills did leave: drafts, which no name stands for.
    expect(await readdir(join(folder, '.drafts'))).not.toEqual([]);
  });

  test.skipIf(namespace === null)(
    'a full disk is storage_failed, and nothing is left of the blob (needs mount namespaces)',
    async () => {
      const mount = `mount -t tmpfs -o size=2m none "$1" && exec "$2" "$3" fill "$1"`;
      const command = [...(namespace ?? []), 'sh', '-c', mount, 'sh', folder, process.execPath, WRITER];
      const { stdout } = await run('unshare', command);
      expect(JSON.parse(stdout)).toEqual({
        code: 'storage_failed',
        message: expect.stringContaining('The disk is full') as unknown,
        files: ['msg_0000.eml'],
      });
    },
  );

  test('memory does not grow with the size of a blob', async () => {
    const { stdout } = await run(process.execPath, [WRITER, 'large', folder]);
    const { bytes, grownBytes } = JSON.parse(stdout) as { bytes: number; grownBytes: number };
    expect(bytes).toBeGreaterThanOrEqual(200_000_000);
    expect(grownBytes).toBeLessThan(70_000_000);
  });

  test('mail is readable by its owner alone', async () => {
    await put(createFileBlobStore(join(folder, 'blobs')), { tenant: 'default', id: 'msg_0000', kind: 'raw' }, 'x');
    const entries = await readdir(folder, { recursive: true });
    const modes = await Promise.all(entries.map(async (name) => (await stat(join(folder, name))).mode & 0o077));
    expect(modes.length).toBeGreaterThan(3);
    expect(new Set(modes)).toEqual(new Set([0]));
  });

  test('a sweep takes drafts that nobody can still be writing, and no younger ones', async () => {
    const store = createFileBlobStore(folder);
    await store.write('default', chunks('abandoned'));
    const [old = ''] = await listFiles(folder);
    const longAgo = new Date(Date.now() - draftAgeMsMax - 60_000);
    await utimes(old, longAgo, longAgo);
    const draft = await store.write('default', chunks('under way'));
    expect(await store.sweep(Date.now() + 60_000, async () => false)).toBe(0);
    await draft.keep({ id: 'msg_0000', kind: 'raw' });
    expect((await listFiles(folder)).map((path) => path.slice(folder.length))).toEqual(['/default/00/msg_0000.eml']);
  });

  test('a sweep leaves alone what is not its own', async () => {
    await mkdir(join(folder, 'lost+found', '00'), { recursive: true });
    await writeFile(join(folder, 'lost+found', '00', '#123'), 'found by fsck');
    await writeFile(join(folder, 'README.txt'), 'mail of the helpdesk');
    expect(await createFileBlobStore(folder).sweep(Date.now() + 60_000, async () => false)).toBe(0);
    expect(await listFiles(folder)).toHaveLength(2);
  });

  test('a folder that is taken away under a running store is made again', async () => {
    const store = createFileBlobStore(folder);
    const name = { tenant: 'default', id: 'msg_0000', kind: 'raw' } as const;
    await put(store, name, 'x');
    await rm(join(folder, 'default'), { recursive: true });
    await put(store, name, 'y');
    expect(await listFiles(folder)).toHaveLength(1);
  });

  test('a root that cannot be written to is storage_failed, and says why', async () => {
    await writeFile(join(folder, 'blobs'), 'a file where the folder should be');
    const store = createFileBlobStore(join(folder, 'blobs'));
    await expect(store.write('default', chunks('x'))).rejects.toMatchObject({
      code: 'storage_failed',
      message: expect.stringMatching(/ENOTDIR|EEXIST/) as unknown,
    });
  });
});
