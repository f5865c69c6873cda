/**
 * What is deleted without being asked: messages whose time is over. It may be killed anywhere and goes on where it was; several at
 * once are in nobody's way. One message that fails keeps none from going.
 */
import { deleteMessage, type DeletionPorts } from './deletion.ts';
import { indexShards, sweepPageMessages } from './limits.ts';
import type { ExpiryEntry } from './message-index.ts';

export interface SweepResult {
  deleted: number;
  /** What went wrong, the first of it; the rest is counted. */
  failed: number;
  error: unknown;
}

/** Messages whose time is over. The signal ends it between two of them. */
export async function sweepExpired(ports: DeletionPorts, signal: AbortSignal): Promise<SweepResult> {
  const result: SweepResult = { deleted: 0, failed: 0, error: null };
  for (let shard = 0; shard < indexShards; shard += 1) {
    const failedBefore = result.failed;
    for (;;) {
      const offset = result.failed - failedBefore;
      const page = await ports.index.listExpired(shard, ports.clock.now(), offset, sweepPageMessages);
      for (const entry of page) {
        if (signal.aborted) return result;
        await counted(result, () => expire(ports, entry));
      }
      if (page.length < sweepPageMessages) break;
    }
  }
  return result;
}

async function expire(ports: DeletionPorts, { tenant, id, atMs }: ExpiryEntry): Promise<boolean> {
  const { records, index, clock } = ports;
  const read = await records.readAny(tenant, id);
  if (read === null || read === 'unreadable') {
    const isThere = read !== null;
    if (isThere) await records.drop(tenant, id);
    await index.removeUnknown(tenant, id);
    await index.forgetExpiry(tenant, id, atMs);
    return isThere;
  }
  const expiresMs = Date.parse(read.record.expiresAt);
  if (!read.isTombstone && expiresMs > clock.now()) {
    await index.expireAt(tenant, id, expiresMs);
    return false;
  }
  return deleteMessage(ports, tenant, read);
}

async function counted(result: SweepResult, work: () => Promise<boolean>): Promise<void> {
  try {
    if (await work()) result.deleted += 1;
  } catch (error) {
    result.failed += 1;
    result.error ??= error;
  }
}
