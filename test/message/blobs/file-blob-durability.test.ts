import type * as FsPromises from 'node:fs/promises';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createFileBlobStore } from '../../../src/message/blobs/file-blob-store.ts';
import { chunks } from './blob-store-suite.ts';

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
  await createFileBlobStore(root).write({ tenant: 'default', id: 'blb_00aa' }, chunks('x'));
  expect(takeCalls()).toEqual([
    'sync blobs',
    'sync .',
    'sync blobs/.drafts/DRAFT',
    'sync blobs/default',
    'sync blobs',
    'rename blobs/default/0a/blb_00aa.blob',
    'sync blobs/default/0a',
  ]);

  // Another process: it cannot know whether the one that made the folders has synced them yet.
  const other = createFileBlobStore(root);
  await other.write({ tenant: 'default', id: 'blb_00ab' }, chunks('x'));
  expect(takeCalls()).toEqual([
    'sync blobs',
    'sync blobs/.drafts/DRAFT',
    'sync blobs/default',
    'sync blobs',
    'rename blobs/default/0a/blb_00ab.blob',
    'sync blobs/default/0a',
  ]);

  // From then on a blob costs two syncs.
  await other.write({ tenant: 'default', id: 'blb_00ac' }, chunks('x'));
  expect(takeCalls()).toEqual([
    'sync blobs/.drafts/DRAFT',
    'rename blobs/default/0a/blb_00ac.blob',
    'sync blobs/default/0a',
  ]);
});
