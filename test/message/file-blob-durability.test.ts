import type * as FsPromises from 'node:fs/promises';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createFileBlobStore } from '../../src/message/file-blob-store.ts';
import { put } from './blob-store-suite.ts';

/** What is made durable, and when, in order: the real file system, overheard. */
const calls = vi.hoisted((): [what: 'sync' | 'rename', path: string][] => []);

vi.mock('node:fs/promises', async (importOriginal) => {
  const fs = await importOriginal<typeof FsPromises>();
  return {
    ...fs,
    async open(path: string, ...rest: [string, number?]) {
      const handle = await fs.open(path, ...rest);
      const sync = handle.sync.bind(handle);
      handle.sync = async () => {
        await sync();
        calls.push(['sync', path]);
      };
      return handle;
    },
    async rename(from: string, to: string) {
      await fs.rename(from, to);
      calls.push(['rename', to]);
    },
  };
});

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function takeCalls(): string[] {
  return calls
    .splice(0)
    .map(([what, path]) => `${what} ${relative(folder, path).replace(/[0-9a-f-]{36}/, 'DRAFT') || '.'}`);
}

test('the bytes are on disk before they have a name, and the name before it is answered for', async () => {
  const root = join(folder, 'blobs');
  await put(createFileBlobStore(root), { tenant: 'default', id: 'msg_00aa', kind: 'raw' }, 'x');
  expect(takeCalls()).toEqual([
    'sync blobs',
    'sync .',
    'sync blobs/.drafts/DRAFT',
    'sync blobs/default',
    'sync blobs',
    'rename blobs/default/00/msg_00aa.eml',
    'sync blobs/default/00',
  ]);

  // Another process: it cannot know whether the one that made the folders has synced them yet.
  const other = createFileBlobStore(root);
  await put(other, { tenant: 'default', id: 'msg_00ab', kind: 'raw' }, 'x');
  expect(takeCalls()).toEqual([
    'sync blobs',
    'sync blobs/.drafts/DRAFT',
    'sync blobs/default',
    'sync blobs',
    'rename blobs/default/00/msg_00ab.eml',
    'sync blobs/default/00',
  ]);

  // From then on a blob costs two syncs.
  await put(other, { tenant: 'default', id: 'msg_00ac', kind: 'raw' }, 'x');
  expect(takeCalls()).toEqual([
    'sync blobs/.drafts/DRAFT',
    'rename blobs/default/00/msg_00ac.eml',
    'sync blobs/default/00',
  ]);
});
