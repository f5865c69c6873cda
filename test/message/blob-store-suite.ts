/** What every blob store must do, whatever it writes to. */
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlobName, BlobStore } from '../../src/message/blob-store.ts';

export interface BlobStoreUnderTest {
  store: BlobStore;
  /** Everything that takes up space, drafts included. */
  list(): Promise<string[]>;
  remove(): Promise<void>;
}

const NAME: BlobName = { tenant: 'default', id: 'msg_00aa', kind: 'raw' };

export async function* chunks(...parts: (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part);
}

/** Writes a blob under a name. */
export async function put(store: BlobStore, { tenant, ...name }: BlobName, content: string | Buffer): Promise<void> {
  const draft = await store.write(tenant, chunks(content));
  await draft.keep(name);
}

export async function read(store: BlobStore, name: BlobName): Promise<string | null> {
  const stream = await store.open(name);
  return stream && (await buffer(stream)).toString();
}

export function describeBlobStore(title: string, create: () => Promise<BlobStoreUnderTest>): void {
  describe(`a blob store: ${title}`, () => {
    let subject: BlobStoreUnderTest;
    let store: BlobStore;

    beforeEach(async () => {
      subject = await create();
      ({ store } = subject);
    });
    afterEach(() => subject.remove());

    test('gives back the bytes that were written, with their count and digest', async () => {
      const content = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, index) => index % 251));
      const draft = await store.write('default', chunks(content.subarray(0, 1), content.subarray(1), ''));
      expect(draft).toMatchObject({
        bytes: content.length,
        sha256: createHash('sha256').update(content).digest('hex'),
      });
      expect(content.equals(await buffer(await draft.open()))).toBe(true);
      await draft.keep({ id: NAME.id, kind: NAME.kind });
      const stream = await store.open(NAME);
      expect(stream && content.equals(await buffer(stream))).toBe(true);
    });

    test('gives a range of a blob, both ends included, and of a blob that is not there none', async () => {
      await put(store, NAME, '0123456789');
      const range = async (start: number, end: number): Promise<string> =>
        (await buffer((await store.open(NAME, { start, end }))!)).toString();
      expect(await range(0, 0)).toBe('0');
      expect(await range(3, 6)).toBe('3456');
      expect(await range(9, 9)).toBe('9');
      expect(await range(0, 9)).toBe('0123456789');
      expect(await store.open({ ...NAME, id: 'msg_none' }, { start: 0, end: 1 })).toBeNull();
    });

    test('is done with a chunk before it asks for the next: it is empty by then', async () => {
      async function* lent(): AsyncGenerator<Buffer> {
        for (let part = 0; part < 50; part += 1) {
          const chunk = Buffer.from(new ArrayBuffer(65_536)).fill(part);
          yield chunk;
          chunk.buffer.transfer(0);
        }
      }
      const draft = await store.write('default', lent());
      const written = await buffer(await draft.open());
      const expected = Buffer.concat(Array.from({ length: 50 }, (_, part) => Buffer.alloc(65_536, part)));
      expect(written.equals(expected)).toBe(true);
      await draft.discard();
    });

    test('holds an empty blob apart from none at all', async () => {
      await put(store, NAME, '');
      expect(await read(store, NAME)).toBe('');
      expect(await read(store, { ...NAME, kind: 'content' })).toBeNull();
    });

    test('leaves nothing of a source that fails midway, and throws what it threw', async () => {
      async function* broken(): AsyncGenerator<Buffer> {
        yield Buffer.alloc(200_000, 'x');
        throw new RangeError('the server hung up');
      }
      await expect(store.write('default', broken())).rejects.toThrow(new RangeError('the server hung up'));
      expect(await subject.list()).toEqual([]);
    });

    test('shows a blob under its name only once it is kept, and leaves nothing of one that is discarded', async () => {
      const draft = await store.write('default', chunks('half a thought'));
      expect(await read(store, NAME)).toBeNull();
      await draft.discard();
      await draft.discard();
      expect(await subject.list()).toEqual([]);
    });

    test('a discard after the blob was kept does not take it away', async () => {
      const draft = await store.write('default', chunks('kept'));
      await draft.keep({ id: NAME.id, kind: NAME.kind });
      await draft.discard();
      expect(await read(store, NAME)).toBe('kept');
    });

    test('replaces a blob in one step: who reads the old one reads it to its end', async () => {
      await put(store, NAME, 'old '.repeat(100_000));
      const reader = await store.open(NAME);
      await put(store, NAME, 'new');
      expect((await buffer(reader!)).toString()).toBe('old '.repeat(100_000));
      expect(await read(store, NAME)).toBe('new');
      expect(await subject.list()).toHaveLength(1);
    });

    test('keeps tenants, ids and kinds apart', async () => {
      const names: BlobName[] = [
        NAME,
        { ...NAME, tenant: 'other' },
        { ...NAME, kind: 'content' },
        { ...NAME, id: 'msg_00ab' },
      ];
      for (const name of names) await put(store, name, JSON.stringify(name));
      expect(await Promise.all(names.map((name) => read(store, name)))).toEqual(
        names.map((name) => JSON.stringify(name)),
      );
      await store.delete(NAME);
      await store.delete(NAME);
      expect(await Promise.all(names.map(async (name) => (await read(store, name)) === null))).toEqual([
        true,
        false,
        false,
        false,
      ]);
    });

    test.each(['', '..', '../default', 'a/b', 'a\\b', 'a\0b', 'a.b', '.drafts', 'MSG', 'a\n'])(
      'refuses the name %j, as a tenant and as an id, before it touches anything',
      async (bad) => {
        const refused = expect.objectContaining({ code: 'internal_error' }) as unknown;
        for (const name of [
          { ...NAME, tenant: bad },
          { ...NAME, id: bad },
        ]) {
          await expect((async () => store.open(name))()).rejects.toEqual(refused);
          await expect((async () => store.delete(name))()).rejects.toEqual(refused);
          const draft = await store.write(name.tenant, chunks('x')).catch((error: unknown) => {
            expect(error).toEqual(refused);
            return null;
          });
          if (draft) {
            await expect(draft.keep({ id: name.id, kind: name.kind })).rejects.toEqual(refused);
            await draft.discard();
          }
        }
        expect(await subject.list()).toEqual([]);
      },
    );

    test('sweeps nothing that belongs to a live message, however old', async () => {
      await put(store, NAME, 'x');
      const asked: string[] = [];
      const isLive = async (tenant: string, id: string): Promise<boolean> => asked.push(`${tenant}/${id}`) > 0;
      expect(await store.sweep(Date.now() + 60_000, isLive)).toBe(0);
      expect(await read(store, NAME)).toBe('x');
      expect(asked).toEqual([`${NAME.tenant}/${NAME.id}`]);
    });

    test('says whether it has a blob', async () => {
      expect(await store.has(NAME)).toBe(false);
      await put(store, NAME, 'x');
      expect(await store.has(NAME)).toBe(true);
    });

    test('sweeps what was last written before a time, and nothing else', async () => {
      await put(store, NAME, 'x');
      const nowMs = Date.now();
      expect(await store.sweep(nowMs - 60_000, async () => false)).toBe(0);
      expect(await read(store, NAME)).toBe('x');
      await put(store, { ...NAME, tenant: 'other' }, 'y');
      expect(await store.sweep(nowMs + 60_000, async () => false)).toBe(2);
      expect(await subject.list()).toEqual([]);
    });
  });
}
