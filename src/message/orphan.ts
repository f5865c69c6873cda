/** Blobs that nothing needs: whether a message has its bytes in one, and taking away one that has none. */
import type { BlobMember } from './blob-members.ts';
import type { BlobName } from './blobs/blob-store.ts';
import type { DeletionPorts } from './deletion.ts';
import { blobsOf } from './message.ts';
import type { RecordStore } from './record-store.ts';

export async function isNeededBy(
  records: Pick<RecordStore, 'readAny'>,
  { tenant, id }: BlobName,
  member: BlobMember,
): Promise<boolean> {
  const read = await records.readAny(tenant, member.id);
  return read !== null && read !== 'unreadable' && blobsOf(read.record).has(id);
}

/** False where a message has its bytes there after all. */
export async function deleteOrphan(
  { blobs, members, records }: DeletionPorts,
  { tenant, id }: BlobName,
  beforeMs: number,
): Promise<boolean> {
  for (const member of await members.list(tenant, id)) {
    if (await isNeededBy(records, { tenant, id }, member)) return false;
    // The blob is old, and who has just joined it may not have written its record yet.
    if (Date.parse(member.fetchedAt) > beforeMs) return false;
    await members.leave(tenant, id, member);
  }
  await blobs.delete({ tenant, id });
  return true;
}
