/**
 * Messages of one fetch that become durable together: their sealed bytes are one blob, a pack, written and synced once, and their
 * records are the end of it. When that is, and what is announced of it, others decide.
 *
 * Order keeps the promise that a record never stands for bytes that are not there, and that nothing is left for good: bytes,
 * when they expire and whose they are, records, indexes.
 */
import { planBatch, type BatchPlan } from './batch-plan.ts';
import type { BlobMember } from './blob-members.ts';
import { release, type DeletionPorts } from './deletion.ts';
import { encodeManifest } from './manifest.ts';
import { blobsOf, type MessageRecord } from './message.ts';
import { digestOf, hasBytes, type NewMessage } from './new-message.ts';
import { createPack, type Pack } from './pack.ts';
import type { ReadRecord } from './record-store.ts';

export interface BatchPorts extends DeletionPorts {
  /** @throws AppError `quota_exceeded`. */
  checkQuota(tenant: string, more: { messages: number; bytes: number }): Promise<void>;
}

export interface StoredOutcome {
  id: string;
  /** The first message of the mailbox with the same bytes; itself where there is no other. */
  firstId: string;
}

/**
 * Resolves, in the order of the messages, when all are durable and found. Where it fails none is surely stored; what was
 * written nevertheless the audit restores, or it goes when its time is over.
 * @throws AppError `storage_failed`, `quota_exceeded`.
 */
export async function storeMessages(
  ports: BatchPorts,
  tenant: string,
  messages: readonly NewMessage[],
): Promise<StoredOutcome[]> {
  const { blobs, records, index, members } = ports;
  const pack = createPack(tenant);
  let isSafe = false;
  try {
    const plans = await planBatch(ports, tenant, messages);
    const fresh = plans.filter(({ held }) => held === null).map(({ message }) => message.raw.bytes);
    await ports.checkQuota(tenant, { messages: fresh.length, bytes: fresh.reduce((sum, size) => sum + size, 0) });

    const outcomes: StoredOutcome[] = [];
    for (const plan of plans) outcomes.push(await settle(ports, tenant, pack, plan));
    const { made, overwritten } = pack;
    const sealed = await Promise.all(
      made.map(async (record) => ({ id: record.id, sealed: await records.encode(tenant, record) })),
    );
    if (made.length > 0) await blobs.write({ tenant, id: pack.blob }, [...pack.pieces, encodeManifest(sealed)]);
    await Promise.all([
      ...made.map(({ id, expiresAt }) => index.expireAt(tenant, id, Date.parse(expiresAt))),
      ...[...pack.membersOfBlobs()].map(([blob, joined]) => members.add(tenant, blob, joined)),
    ]);
    isSafe = true;
    await Promise.all(sealed.map((one) => records.write(tenant, one)));
    await Promise.all(overwritten.map((record) => release(ports, tenant, record)));
    await Promise.all(made.map((record) => index.add(tenant, record)));
    return outcomes;
  } finally {
    // What has a blob of its own and no record that says so.
    const kept = isSafe ? new Set(pack.made.map(({ raw }) => raw?.blob)) : new Set();
    const drafts = messages.flatMap(({ raw }) => (hasBytes(raw) && 'blob' in raw.place ? [raw] : []));
    for (const draft of drafts) if ('blob' in draft.place && !kept.has(draft.place.blob)) await draft.discard();
  }
}

/** Resolves when the message is in the pack, or need not be. */
async function settle(ports: BatchPorts, tenant: string, pack: Pack, plan: BatchPlan): Promise<StoredOutcome> {
  const { message, id, held, first } = plan;
  const expiresAt = new Date(message.fetchedMs + message.retentionMs).toISOString();
  if (held && (await extend(ports, tenant, held, { fetchId: message.fetchId, expiresAt }))) {
    return { id, firstId: held.record.duplicateOf ?? id };
  }
  const facts = {
    id,
    mailboxId: message.mailboxId,
    fetchId: message.fetchId,
    uidl: message.uidl,
    fetchedAt: new Date(message.fetchedMs).toISOString(),
    expiresAt,
    acknowledgedAt:
      plan.previous && isSameBytes(plan.previous.record, message) ? plan.previous.record.acknowledgedAt : null,
  };
  const original = pack.find(message) ?? (first && (await share(ports, tenant, facts, first)) ? first : null);
  if (plan.previous) pack.overwritten.push(plan.previous.record);
  if (original) pack.addCopy(message, facts, original);
  else pack.add(message, facts);
  return { id, firstId: original?.duplicateOf ?? original?.id ?? id };
}

/** Of a message that is held already there is nothing to write but that it was met again. */
async function extend(
  ports: BatchPorts,
  tenant: string,
  held: ReadRecord,
  { fetchId, expiresAt }: Pick<MessageRecord, 'fetchId' | 'expiresAt'>,
): Promise<boolean> {
  const { records, index } = ports;
  const { record } = held;
  const later = expiresAt > record.expiresAt ? expiresAt : record.expiresAt;
  // The later time first: should this end here, the sweeper finds a record whose time has not come, and corrects itself.
  await index.expireAt(tenant, record.id, Date.parse(later));
  const extended = { ...record, fetchId, expiresAt: later };
  if (!(await records.replace(tenant, held, extended))) {
    // It was acknowledged at this moment, which is not to be undone; or it is being deleted.
    const [now = null] = await records.read(tenant, [record.id]);
    return now?.record.digest === record.digest && extend(ports, tenant, now, { fetchId, expiresAt });
  }
  // Whoever stored it may have died before it came to that.
  await index.add(tenant, extended);
  return true;
}

/** False where the original is just being deleted. */
async function share(
  { members }: BatchPorts,
  tenant: string,
  copy: BlobMember,
  original: MessageRecord,
): Promise<boolean> {
  for (const blob of blobsOf(original)) {
    if (!(await members.join(tenant, blob, copy, original))) return false;
  }
  return true;
}

function isSameBytes({ digest }: MessageRecord, message: NewMessage): boolean {
  return digest !== null && digest === digestOf(message);
}
