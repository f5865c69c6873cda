/** What every blob store must do, whatever it writes to. */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlobName, BlobStore, ListedBlob } from '../../../src/message/blobs/blob-store.ts';

export interface BlobStoreUnderTest {
  store: BlobStore;
  /** Everything that takes up space, what is half written included. */
  list(): Promise<string[]>;
  remove(): Promise<void>;
}

export const NAME: BlobName = { tenant: 'default', id: 'blb_00aa' };
const MIB = 1024 * 1024;
const STORAGE_FAILED = expect.objectContaining({ code: 'storage_failed' }) as unknown;
const MINUTE_MS = 60_000;

export async function* chunks(...parts: (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part);
}

export async function read(store: BlobStore, name: BlobName): Promise<string | null> {
  const stream = await store.open(name);
  return stream && (await buffer(stream)).toString();
}

export async function listAll(store: BlobStore, beforeMs: number): Promise<string[]> {
  const names: string[] = [];
  for await (const { tenant, id } of store.list(beforeMs)) names.push(`${tenant}/${id}`);
  return names.toSorted();
}

/** Chunks of 64 KiB, each taken away when the next is asked for, as the POP3 client lends them. */
export async function* lent(bytes: number, onChunk: () => void = () => undefined): AsyncGenerator<Buffer> {
  for (let part = 0; part < bytes / 65_536; part += 1) {
    const chunk = Buffer.from(new ArrayBuffer(65_536)).fill(part % 251);
    yield chunk;
    chunk.buffer.transfer(0);
    onChunk();
  }
}

/** A source that stops in the middle, until it is told to go on. */
export function createHeldSource(bytes: number): {
  source: AsyncGenerator<Buffer>;
  reached: Promise<void>;
  release(): void;
} {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  async function* hold(): AsyncGenerator<Buffer> {
    yield* lent(bytes);
    reached.resolve();
    await released.promise;
    yield Buffer.from('the end');
  }
  return { source: hold(), reached: reached.promise, release: released.resolve };
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

    test('gives back the bytes that were written', async () => {
      const content = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, index) => index % 251));
      await store.write(NAME, chunks(content.subarray(0, 1), content.subarray(1), ''));
      expect(content.equals(await buffer((await store.open(NAME))!))).toBe(true);
      await store.write({ ...NAME, id: 'blb_00ab' }, [content.subarray(0, 7), content.subarray(7, 10)]);
      expect(await read(store, { ...NAME, id: 'blb_00ab' })).toBe(content.subarray(0, 10).toString());
    });

    test('gives a range of a blob, both ends included, as far as the blob goes', async () => {
      await store.write(NAME, chunks('0123456789'));
      const range = async (start: number, end: number): Promise<string> => {
        const streamed = await buffer((await store.open(NAME, { start, end }))!);
        expect(await store.read(NAME, { start, end })).toEqual(streamed);
        return streamed.toString();
      };
      expect(await range(0, 0)).toBe('0');
      expect(await range(3, 6)).toBe('3456');
      expect(await range(9, 9)).toBe('9');
      expect(await range(0, 9)).toBe('0123456789');
      expect(await range(7, 1_000)).toBe('789');
      expect(await range(10, 10)).toBe('');
      expect(await range(1_000, 2_000)).toBe('');
      expect(await store.open({ ...NAME, id: 'blb_none' }, { start: 0, end: 1 })).toBeNull();
      expect(await store.read({ ...NAME, id: 'blb_none' }, { start: 0, end: 1 })).toBeNull();
    });

    test('gives the last bytes of a blob, all of a shorter one', async () => {
      await store.write(NAME, chunks('0123456789'));
      await store.write({ ...NAME, id: 'blb_empty' }, chunks());
      const tail = async (name: BlobName, bytes: number) => (await store.readTail(name, bytes))?.toString() ?? null;
      expect(await tail(NAME, 1)).toBe('9');
      expect(await tail(NAME, 4)).toBe('6789');
      expect(await tail(NAME, 10)).toBe('0123456789');
      expect(await tail(NAME, 65_536)).toBe('0123456789');
      expect(await tail({ ...NAME, id: 'blb_empty' }, 4)).toBe('');
      expect(await tail({ ...NAME, id: 'blb_none' }, 4)).toBeNull();
    });

    test('a blob that is written over is the new one, whole, and listed once', async () => {
      await store.write(NAME, chunks('what was there before'));
      await store.write(NAME, chunks('what is there now'));
      expect(await read(store, NAME)).toBe('what is there now');
      expect(await listAll(store, Date.now() + MINUTE_MS)).toEqual(['default/blb_00aa']);
    });

    test('lists blobs with when they were written', async () => {
      const beforeMs = Date.now();
      await store.write(NAME, chunks('x'));
      const listed: ListedBlob[] = [];
      for await (const blob of store.list(Date.now() + MINUTE_MS)) listed.push(blob);
      expect(listed).toMatchObject([NAME]);
      // S3 tells whole seconds, and a file system may be a little behind the clock.
      expect(listed[0]!.writtenMs).toBeGreaterThan(beforeMs - MINUTE_MS);
      expect(listed[0]!.writtenMs).toBeLessThan(Date.now() + MINUTE_MS);
    });

    test.each([
      [3, 2],
      [-1, 5],
      [0.5, 2],
      [0, Number.NaN],
      [0, Infinity],
    ])('refuses the range from %d to %d', async (start, end) => {
      await store.write(NAME, chunks('0123456789'));
      await expect(store.open(NAME, { start, end })).rejects.toMatchObject({ code: 'internal_error' });
    });

    test('holds an empty blob apart from none at all', async () => {
      await store.write(NAME, chunks());
      expect(await read(store, NAME)).toBe('');
      expect(await buffer((await store.open(NAME, { start: 0, end: 5 }))!)).toHaveLength(0);
      expect(await store.has(NAME)).toBe(true);
      expect(await read(store, { ...NAME, id: 'blb_none' })).toBeNull();
      expect(await store.has({ ...NAME, id: 'blb_none' })).toBe(false);
    });

    test.each([0.25, 1, 2, 5, 7, 12])(
      'is done with a chunk before it asks for the next, as it is empty by then: %d MiB',
      async (mebibytes) => {
        const hash = createHash('sha256');
        for await (const chunk of lent(mebibytes * MIB)) hash.update(chunk);
        await store.write(NAME, lent(mebibytes * MIB));
        expect(await digest((await store.open(NAME))!)).toBe(hash.digest('hex'));
        const range = { start: mebibytes * MIB - 70_000, end: mebibytes * MIB - 1 };
        const bytes = await buffer((await store.open(NAME, range))!);
        expect([bytes.length, bytes[0], bytes.at(-1)]).toEqual([
          70_000,
          (mebibytes * 16 - 2) % 251,
          (mebibytes * 16 - 1) % 251,
        ]);
      },
    );

    test('memory does not grow with the size of a blob, neither written nor read', async () => {
      setFlagsFromString('--expose-gc');
      const collectGarbage = runInNewContext('gc') as () => void;
      let peak = 0;
      let calls = 0;
      const measure = (): void => {
        calls += 1;
        if (calls % 32 !== 0) return;
        collectGarbage();
        peak = Math.max(peak, process.memoryUsage().arrayBuffers);
      };
      // Once for what is kept from then on.
      await store.write({ ...NAME, id: 'blb_00ab' }, lent(12 * MIB));
      collectGarbage();
      const before = process.memoryUsage().arrayBuffers;
      await store.write(NAME, lent(60 * MIB, measure));
      let bytes = 0;
      for await (const chunk of (await store.open(NAME))!) {
        bytes += (chunk as Buffer).length;
        measure();
      }
      expect(bytes).toBe(60 * MIB);
      expect((peak - before) / MIB).toBeLessThan(25);
    });

    test.each([0.1, 3, 12])(
      'leaves nothing of a source that fails after %d MiB, and throws what it threw',
      async (at) => {
        async function* broken(): AsyncGenerator<Buffer> {
          yield* lent(at * MIB);
          throw new RangeError('the server hung up');
        }
        await expect(store.write(NAME, broken())).rejects.toThrow(new RangeError('the server hung up'));
        expect(await subject.list()).toEqual([]);
        expect(await store.open(NAME)).toBeNull();
      },
    );

    test('shows nothing of a blob before it is whole', async () => {
      const { source, reached, release } = createHeldSource(12 * MIB);
      const writing = store.write(NAME, source);
      await reached;
      expect(await store.has(NAME)).toBe(false);
      expect(await store.open(NAME)).toBeNull();
      expect(await listAll(store, Date.now() + MINUTE_MS)).toEqual([]);
      release();
      await writing;
      expect(await store.has(NAME)).toBe(true);
    });

    test('keeps tenants and ids apart, and a blob that is not there is deleted in silence', async () => {
      const names: BlobName[] = [NAME, { ...NAME, tenant: 'other' }, { ...NAME, id: 'blb_00ab' }];
      for (const name of names) await store.write(name, chunks(JSON.stringify(name)));
      expect(await Promise.all(names.map((name) => read(store, name)))).toEqual(
        names.map((name) => JSON.stringify(name)),
      );
      await store.delete(NAME);
      await store.delete(NAME);
      expect(await Promise.all(names.map((name) => store.has(name)))).toEqual([false, true, true]);
      expect(await subject.list()).toHaveLength(2);
    });

    test('writes many blobs at once, each its own bytes', async () => {
      const names = Array.from({ length: 30 }, (_, number) => ({ ...NAME, id: `blb_00${number}` }));
      const content = ({ id }: BlobName): Buffer => Buffer.alloc(300_000, `${id} `);
      await Promise.all(names.map((name) => store.write(name, chunks(content(name)))));
      for (const name of names) expect(content(name).equals(await buffer((await store.open(name))!))).toBe(true);
    });

    test('a blob that is deleted while it is read comes whole or fails, and never ends early in silence', async () => {
      const content = Buffer.alloc(4 * MIB, 'mail ');
      await store.write(NAME, chunks(content));
      const parts: Buffer[] = [];
      const failure = await (async () => {
        for await (const chunk of (await store.open(NAME))!) {
          parts.push(chunk as Buffer);
          await store.delete(NAME);
        }
      })().catch((error: unknown) => error);
      if (failure !== undefined) expect(failure).toEqual(STORAGE_FAILED);
      else expect(Buffer.concat(parts).equals(content)).toBe(true);
      expect(await store.has(NAME)).toBe(false);
    });

    test('lists what was written before a time', async () => {
      expect(await listAll(store, Date.now() + MINUTE_MS)).toEqual([]);
      await store.write(NAME, chunks('x'));
      await store.write({ ...NAME, tenant: 'other' }, lent(12 * MIB));
      expect(await listAll(store, Date.now() - MINUTE_MS)).toEqual([]);
      expect(await listAll(store, Date.now() + MINUTE_MS)).toEqual(['default/blb_00aa', 'other/blb_00aa']);
    });

    test('lists each blob once, though those that it has listed are deleted meanwhile', async () => {
      const names = Array.from({ length: 45 }, (_, number) => ({ tenant: `t${number % 3}`, id: `blb_00${number}` }));
      await Promise.all(names.map((name) => store.write(name, chunks('x'))));
      const listed: string[] = [];
      for await (const name of store.list(Date.now() + MINUTE_MS)) {
        listed.push(`${name.tenant}/${name.id}`);
        await store.delete(name);
      }
      expect(listed.toSorted()).toEqual(names.map(({ tenant, id }) => `${tenant}/${id}`).toSorted());
      expect(await subject.list()).toEqual([]);
    });

    test('discards what is half written and old enough, and its writer fails', async () => {
      await store.write({ ...NAME, id: 'blb_whole' }, chunks('x'));
      const { source, reached, release } = createHeldSource(12 * MIB);
      const writing = store.write(NAME, source);
      await reached;
      expect(await subject.list()).not.toHaveLength(1);
      await store.discardUnfinished(Date.now() + MINUTE_MS);
      expect(await subject.list()).toHaveLength(1);
      release();
      await expect(writing).rejects.toEqual(STORAGE_FAILED);
      expect(await subject.list()).toHaveLength(1);
      expect(await listAll(store, Date.now() + MINUTE_MS)).toEqual(['default/blb_whole']);
    });

    test('discards nothing that somebody may still be writing', async () => {
      const { source, reached, release } = createHeldSource(12 * MIB);
      const writing = store.write(NAME, source);
      await reached;
      await store.discardUnfinished(Date.now() - MINUTE_MS);
      release();
      await writing;
      expect(await store.has(NAME)).toBe(true);
    });

    test('a check of a store that works leaves nothing', async () => {
      await store.check();
      expect(await subject.list()).toEqual([]);
    });

    const hostile = [
      '',
      '..',
      '../default',
      'a/bcdef',
      'a\\bcdef',
      'a\0bcdef',
      'a.bcdef',
      '.drafts',
      'BLB_00',
      'blb_00\n',
    ];
    test.each([...hostile, 'é'.repeat(6), 'a'.repeat(129)])(
      'refuses the name %j, as a tenant and as an id, before it touches anything',
      async (bad) => {
        for (const name of [
          { ...NAME, tenant: bad },
          { ...NAME, id: bad },
        ]) {
          const refused = { code: 'internal_error' };
          let isAsked = false;
          async function* source(): AsyncGenerator<Buffer> {
            isAsked = true;
            yield Buffer.from('x');
          }
          await expect(store.write(name, source())).rejects.toMatchObject(refused);
          await expect(store.open(name)).rejects.toMatchObject(refused);
          await expect(store.has(name)).rejects.toMatchObject(refused);
          await expect(store.delete(name)).rejects.toMatchObject(refused);
          expect(isAsked).toBe(false);
        }
        expect(await subject.list()).toEqual([]);
      },
    );

    test('refuses an id of four characters', async () => {
      await expect(store.write({ ...NAME, id: 'blb0' }, chunks('x'))).rejects.toMatchObject({ code: 'internal_error' });
    });
  });
}

async function digest(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
