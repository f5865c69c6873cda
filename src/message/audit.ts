/**
 * What all blobs are held against once a day: what Redis has lost is restored, and blobs that nothing needs are deleted. Nothing is as
 * long as something cannot be read: it may be what tells that they are needed.
 */
import { deleteOrphan } from './orphan.ts';
import { draftAgeMsMax } from './limits.ts';
import { reconcileBlobs, type ReconcilePorts, type Reconciliation } from './reconciler.ts';

export interface AuditResult extends Reconciliation {
  deleted: number;
  /** Blobs that seem to be no message's, and stay. */
  kept: number;
}

/** @param isRedisNew it may have lost what it knew: of what does not say what it is, nothing is deleted. */
export async function auditBlobs(
  ports: ReconcilePorts,
  isRedisNew: boolean,
  signal: AbortSignal,
): Promise<AuditResult> {
  const untilMs = ports.clock.now() - draftAgeMsMax;
  const options = { untilMs, isThorough: false, isDryRun: false, signal };
  const { result, orphans, isReserved, isOverfull } = await reconcileBlobs(ports, options);
  const audit: AuditResult = { ...result, deleted: 0, kept: 0 };
  const isDoubtful = isOverfull || result.failed > 0;
  for (const orphan of orphans) {
    if (signal.aborted) return audit;
    if (isDoubtful || isReserved(orphan) || (isRedisNew && orphan.isUnknown)) {
      audit.kept += 1;
      continue;
    }
    try {
      if (await deleteOrphan(ports, orphan, untilMs)) audit.deleted += 1;
    } catch (error) {
      audit.failed += 1;
      audit.error ??= error;
    }
  }
  await ports.blobs.discardUnfinished(untilMs);
  return audit;
}
