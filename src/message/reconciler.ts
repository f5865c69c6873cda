/**
 * Holds blobs against what Redis knows: a message that a manifest describes and that Redis has lost is put there again, as it was
 * stored; one that was deleted since stays deleted. It may be killed anywhere and begun again, and several at once, and whatever
 * runs beside it, are in nobody's way. It deletes no blob: it says which ones nothing seems to need.
 */
import { goneBlob, kindOf } from './blob-kinds.ts';
import type { BlobName, ListedBlob } from './blobs/blob-store.ts';
import type { DataKeys } from './data-keys.ts';
import { deleteMessage, release, type DeletionPorts } from './deletion.ts';
import { blobsAtOnce, blobsRememberedMax } from './limits.ts';
import { readManifest, type SealedRecord } from './manifest.ts';
import { blobsOf, manifestOf, type MessageRecord } from './message.ts';
import { isNeededBy } from './orphan.ts';
import type { ReadRecord } from './record-store.ts';

export interface ReconcilePorts extends DeletionPorts {
  dataKeys: Pick<DataKeys, 'isLost' | 'restore' | 'keepCopies'>;
  onReleased?(message: Pick<MessageRecord, 'id' | 'mailboxId'> & { tenant: string }): Promise<void>;
}

export interface ReconcileOptions {
  /** Epoch milliseconds: what was written since may be in the hands of a writer that lives, and is only looked at. */
  untilMs: number;
  /** Every blob is read, and all that belongs to a message is put right; else only what Redis does not know all about. */
  isThorough: boolean;
  /** Nothing is written. */
  isDryRun: boolean;
  signal: AbortSignal;
}

export interface Reconciliation {
  /** Blobs that were looked at. */
  blobs: number;
  /** Messages that Redis had lost. */
  restored: number;
  /** Messages that had been deleted since the state that Redis was in. */
  gone: number;
  /** Messages that are not restored, as a part of their bytes is not there. */
  incomplete: number;
  dataKeys: number;
  failed: number;
  /** What went wrong, the first of it. */
  error: unknown;
}

export interface Orphan extends BlobName {
  /** It cannot be told what it holds. */
  isUnknown: boolean;
}

export interface Findings {
  result: Reconciliation;
  /** In the order in which they were found. */
  orphans: Orphan[];
  /** True of a blob that a message of a young blob has its bytes in. */
  isReserved(name: BlobName): boolean;
  /** There was more than can be remembered: what is no orphan cannot be told. */
  isOverfull: boolean;
}

export async function reconcileBlobs(ports: ReconcilePorts, options: ReconcileOptions): Promise<Findings> {
  const { blobs, records, index, members, dataKeys, clock } = ports;
  const { untilMs, isThorough, isDryRun, signal } = options;
  const result: Reconciliation = {
    blobs: 0,
    restored: 0,
    gone: 0,
    incomplete: 0,
    dataKeys: 0,
    failed: 0,
    error: null,
  };
  const orphans: Orphan[] = [];
  const reserved = new Set<string>();
  const tenants = new Set<string>();
  let isOverfull = false;

  const list = blobs.list(Number.MAX_SAFE_INTEGER)[Symbol.asyncIterator]();
  const worker = async (): Promise<void> => {
    for (let next = await list.next(); next.done !== true; next = await list.next()) {
      if (signal.aborted) return;
      const blob = next.value;
      result.blobs += 1;
      await counted(() => reconcile(blob));
    }
  };
  await Promise.all(Array.from({ length: blobsAtOnce }, worker));
  await list.return?.();
  return { result, orphans, isReserved: (name) => reserved.has(nameOf(name)), isOverfull };

  async function counted(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      result.failed += 1;
      result.error ??= error;
    }
  }

  async function reconcile(blob: ListedBlob): Promise<void> {
    const { tenant, id } = blob;
    if (!tenants.has(tenant)) {
      tenants.add(tenant);
      if (!isDryRun) await dataKeys.keepCopies(tenant);
    }
    const what = kindOf(id);
    if (what.kind === 'dataKey') return reconcileKey(tenant, what.id);
    if (what.kind === 'bytes') return reconcileBytes(blob);
    if (blob.writtenMs < untilMs && !(await blobs.has({ tenant, id: what.blob }))) noteOrphan(blob, false);
  }

  async function reconcileKey(tenant: string, id: string): Promise<void> {
    if (!(await dataKeys.isLost(tenant, id))) return;
    if (isDryRun || (await dataKeys.restore(tenant, id))) result.dataKeys += 1;
  }

  async function reconcileBytes(blob: ListedBlob): Promise<void> {
    const isYoung = blob.writtenMs >= untilMs;
    if (!isThorough && (await isWhole(blob))) return;
    const manifest = await readManifest(blobs, blob);
    let isWanted = false;
    let isUnknown = manifest === null;
    for (const sealed of manifest ?? []) {
      const record = await records.decode(blob.tenant, sealed);
      if (record === null) isUnknown = true;
      else if (isYoung) reserve(blob.tenant, record);
      else if (await reconcileMessage(blob, sealed, record)) isWanted = true;
    }
    if (!isWanted && !isYoung) noteOrphan(blob, isUnknown);
  }

  /** All that have their bytes in it have a record that says so. */
  async function isWhole({ tenant, id }: BlobName): Promise<boolean> {
    const listed = await members.list(tenant, id);
    const needed = await Promise.all(listed.map((member) => isNeededBy(records, { tenant, id }, member)));
    return listed.length > 0 && needed.every(Boolean);
  }

  /** Resolves with whether the blob is needed for it. */
  async function reconcileMessage(blob: BlobName, sealed: SealedRecord, record: MessageRecord): Promise<boolean> {
    const { tenant } = blob;
    const isGone = await blobs.has({ tenant, id: goneBlob(blob.id, record) });
    const held = await records.readAny(tenant, record.id);
    const known = held === 'unreadable' ? null : held;
    if (known && known.record.fetchedAt === record.fetchedAt && manifestOf(known.record) === blob.id) {
      return isGone ? !(await bury(tenant, known)) : settle(tenant, known);
    }
    const isSuperseded = known !== null && known.record.fetchedAt >= record.fetchedAt;
    if (isGone || isSuperseded || Date.parse(record.expiresAt) <= clock.now()) return false;
    if (!(await hasBytes(tenant, record))) {
      result.incomplete += 1;
      return true; // The rest may be copied to its place just now.
    }
    if (!isDryRun) {
      if (held === 'unreadable') await records.drop(tenant, record.id);
      // Whoever has stored or deleted one under the id at this moment may have left it to this.
      if (!(await restore(tenant, known, sealed, record))) return reconcileMessage(blob, sealed, record);
    }
    result.restored += 1;
    return true;
  }

  /** In the order in which it was stored. False where another record is there by now. */
  async function restore(
    tenant: string,
    known: ReadRecord | null,
    sealed: SealedRecord,
    record: MessageRecord,
  ): Promise<boolean> {
    await index.expireAt(tenant, record.id, Date.parse(record.expiresAt));
    for (const name of blobsOf(record)) await members.add(tenant, name, [record]);
    if (!(await records.put(tenant, known, sealed))) return false;
    if (known) await release(ports, tenant, known.record);
    await index.add(tenant, record);
    return true;
  }

  /** Of a message that is here: whoever stored or restored it may have died before it came to that. */
  async function settle(tenant: string, { record, isTombstone }: ReadRecord): Promise<true> {
    if (!isThorough || isDryRun || isTombstone) return true;
    await index.expireAt(tenant, record.id, Date.parse(record.expiresAt));
    for (const name of blobsOf(record)) await members.add(tenant, name, [record]);
    await index.add(tenant, record);
    return true;
  }

  /** Of a message that was deleted after what Redis has was saved. */
  async function bury(tenant: string, known: ReadRecord): Promise<boolean> {
    result.gone += 1;
    if (isDryRun) return true;
    await ports.onReleased?.({ tenant, id: known.record.id, mailboxId: known.record.mailboxId });
    return deleteMessage(ports, tenant, known);
  }

  async function hasBytes(tenant: string, { raw, content }: MessageRecord): Promise<boolean> {
    const names = new Set(raw === null ? [content.blob] : [raw.blob, content.blob]);
    const found = await Promise.all([...names].map((id) => blobs.has({ tenant, id })));
    return found.every(Boolean);
  }

  function reserve(tenant: string, record: MessageRecord): void {
    for (const id of blobsOf(record)) reserved.add(nameOf({ tenant, id }));
    isOverfull ||= reserved.size > blobsRememberedMax;
    if (isOverfull) reserved.clear();
  }

  /** Those that are too many are found the next time. */
  function noteOrphan({ tenant, id }: BlobName, isUnknown: boolean): void {
    if (orphans.length < blobsRememberedMax) orphans.push({ tenant, id, isUnknown });
  }
}

function nameOf({ tenant, id }: BlobName): string {
  return `${tenant}/${id}`;
}
