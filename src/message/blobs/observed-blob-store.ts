/** A blob store that tells how long it takes. Of what is opened that is until its first bytes may be read, as the rest is at its reader's pace. */
import type { BlobStore } from './blob-store.ts';

export type BlobOperation = 'write' | 'open' | 'read' | 'read_tail' | 'has' | 'delete';

export type ObserveBlob = (operation: BlobOperation, outcome: 'ok' | 'failed', ms: number) => void;

export function observeBlobs(store: BlobStore, observe: ObserveBlob, clock: { now(): number }): BlobStore {
  async function timed<T>(operation: BlobOperation, work: () => Promise<T>): Promise<T> {
    const fromMs = clock.now();
    try {
      const result = await work();
      observe(operation, 'ok', clock.now() - fromMs);
      return result;
    } catch (error) {
      observe(operation, 'failed', clock.now() - fromMs);
      throw error;
    }
  }
  return {
    check: () => store.check(),
    write: (name, source) => timed('write', () => store.write(name, source)),
    open: (name, range) => timed('open', () => store.open(name, range)),
    read: (name, range) => timed('read', () => store.read(name, range)),
    readTail: (name, bytes) => timed('read_tail', () => store.readTail(name, bytes)),
    has: (name) => timed('has', () => store.has(name)),
    delete: (name) => timed('delete', () => store.delete(name)),
    list: (beforeMs) => store.list(beforeMs),
    discardUnfinished: (beforeMs) => store.discardUnfinished(beforeMs),
  };
}
