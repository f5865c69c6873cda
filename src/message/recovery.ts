/**
 * Recovery from a Redis that was lost, or that an older copy was put in the place of: all at once what the audit does by and by, and
 * what only it must not: a record whose bytes are gone is that of a message that was deleted later. It deletes no blob that a message
 * has not been deleted with.
 */
import { deleteMessage } from './deletion.ts';
import { indexShards, sweepPageMessages } from './limits.ts';
import type { MessageRecord } from './message.ts';
import { reconcileBlobs, type ReconcilePorts, type Reconciliation } from './reconciler.ts';
import type { ReadRecord } from './record-store.ts';

export interface RecoverOptions {
  isDryRun: boolean;
  signal: AbortSignal;
}

/** One that finds no blob at all touches nothing: it looks at the wrong place. */
export async function recoverMessages(ports: ReconcilePorts, options: RecoverOptions): Promise<Reconciliation> {
  const { result } = await reconcileBlobs(ports, {
    ...options,
    untilMs: Number.MAX_SAFE_INTEGER,
    isThorough: true,
  });
  if (result.blobs === 0) return result;
  for (let shard = 0; shard < indexShards; shard += 1) await dropWithoutBytes(ports, shard, options, result);
  return result;
}

async function dropWithoutBytes(
  ports: ReconcilePorts,
  shard: number,
  { isDryRun, signal }: RecoverOptions,
  result: Reconciliation,
): Promise<void> {
  for (let kept = 0; !signal.aborted;) {
    const page = await ports.index.listExpired(shard, Number.MAX_SAFE_INTEGER, kept, sweepPageMessages);
    for (const { tenant, id } of page) {
      let isDropped = false;
      try {
        const read = await ports.records.readAny(tenant, id);
        if (read !== null && read !== 'unreadable' && (await isWithoutBytes(ports, tenant, read))) {
          result.gone += 1;
          isDropped = !isDryRun && (await deleteMessage(ports, tenant, read));
        }
      } catch (error) {
        result.failed += 1;
        result.error ??= error;
      }
      if (!isDropped) kept += 1;
    }
    if (page.length < sweepPageMessages) return;
  }
}

async function isWithoutBytes({ blobs }: ReconcilePorts, tenant: string, read: ReadRecord): Promise<boolean> {
  const { raw, content }: MessageRecord = read.record;
  if (read.isTombstone) return false; // The sweeper is at it.
  if (!(await blobs.has({ tenant, id: content.blob }))) return true;
  return raw !== null && raw.blob !== content.blob && !(await blobs.has({ tenant, id: raw.blob }));
}
