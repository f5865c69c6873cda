/**
 * Deleting a message, exactly and in steps that may each be the last one before a crash: the record becomes a tombstone, which
 * still says what is left to do; then indexes, bytes and tombstone go. When it expires is forgotten last, so that the sweeper
 * comes back to what was begun.
 */
import { goneBlob } from './blob-kinds.ts';
import type { BlobMembers } from './blob-members.ts';
import type { BlobStore } from './blobs/blob-store.ts';
import type { MessageIndex } from './message-index.ts';
import { blobsOf, manifestOf, type MessageRecord } from './message.ts';
import type { ReadRecord, RecordStore } from './record-store.ts';

export interface DeletionPorts {
  blobs: BlobStore;
  records: RecordStore;
  index: MessageIndex;
  members: BlobMembers;
  clock: { now(): number };
}

/** @returns false where the record is another by now, or has been deleted meanwhile. */
export async function deleteMessage(ports: DeletionPorts, tenant: string, read: ReadRecord): Promise<boolean> {
  const { records, index, clock } = ports;
  const { id } = read.record;
  const nowMs = clock.now();
  await index.expireAt(tenant, id, nowMs);
  const tombstone = await records.bury(tenant, read);
  // What has come in its place has a time of its own, which the sweeper puts right.
  if (!tombstone) return false;
  await release(ports, tenant, read.record);
  await records.erase(tenant, tombstone);
  await index.forgetExpiry(tenant, id, nowMs);
  return true;
}

/**
 * Gives up what a record stood for: its places in the indexes, and its bytes where nobody shares them. Where somebody does, a note is
 * left that it is gone, as the manifest still tells of it: its bytes can be opened with the tenant's data key for as long as the
 * blob is there, but popbridge does not give them out again, not even after Redis was lost.
 */
export async function release(ports: DeletionPorts, tenant: string, record: MessageRecord): Promise<void> {
  await ports.index.remove(tenant, record);
  for (const blob of blobsOf(record)) {
    if (await ports.members.leave(tenant, blob, record)) await ports.blobs.delete({ tenant, id: blob });
    else if (blob === manifestOf(record) && Date.parse(record.expiresAt) > ports.clock.now())
      await ports.blobs.write({ tenant, id: goneBlob(blob, record) }, []);
  }
}
