/**
 * Whether what was written to Redis is on its disk. `appendfsync everysec` can lose the last second, so nothing may be
 * deleted upstream on the strength of a write alone.
 *
 * Redis 7.2 and newer tell by WAITAOF. On older ones two sync periods must pass, and then no sync be under way. In both cases the server must be the same
 * process as before the first write: one that was restarted in between may have come back without it.
 */
import type { Redis } from 'ioredis';
import { AppError, toError } from '../errors.ts';
import { durabilityKey } from './keys.ts';
import { connectionLimits } from './limits.ts';
import { readServerFacts, readSyncPolicy, type ServerFacts } from './server-facts.ts';

export interface Durability {
  /** Call before the first write that `confirm` is to cover. */
  begin(): Promise<DurabilityCheck>;
}

export interface DurabilityCheck {
  /**
   * Resolves when every write made through the store's connection since `begin` is on disk.
   * @throws AppError `storage_failed` when that cannot be said.
   */
  confirm(): Promise<void>;
}

export interface DurabilityClock {
  sleep(ms: number): Promise<void>;
}

export function createDurability(redis: Redis, clock: DurabilityClock): Durability {
  return {
    async begin() {
      const before = await readServerFacts(redis);
      refuseVolatile(before);
      if (!before.hasWaitAof && (await readSyncPolicy(redis)) === 'no') {
        throw notDurable('Redis leaves syncing to the system (set "appendfsync everysec")');
      }
      return {
        async confirm() {
          await waitForDisk(redis, before, clock);
          const after = await readServerFacts(redis);
          if (after.runId !== before.runId) throw notDurable('Redis was restarted or failed over meanwhile');
          refuseVolatile(after);
        },
      };
    },
  };
}

function refuseVolatile({ appendOnly, lastWriteOk }: ServerFacts): void {
  if (!appendOnly) throw notDurable('Redis keeps no append-only file (set "appendonly yes")');
  if (!lastWriteOk) throw notDurable('Redis could not write its append-only file');
}

async function waitForDisk(redis: Redis, server: ServerFacts, clock: DurabilityClock): Promise<void> {
  if (!server.hasWaitAof) {
    await clock.sleep(connectionLimits.everysecTwiceMs);
    await waitForSync(redis, clock);
    return;
  }
  try {
    // WAITAOF speaks for the writes of its connection, which may be a new one: this write comes after all that it is to cover.
    const [written, waited] =
      (await redis
        .pipeline()
        .set(durabilityKey, '', 'PX', connectionLimits.durableTimeoutMs)
        .call('WAITAOF', '1', '0', connectionLimits.durableTimeoutMs)
        .exec()) ?? [];
    const error = written?.[0] ?? waited?.[0];
    if (error) throw error;
    const [localDisks = 0] = (waited?.[1] ?? []) as number[];
    if (localDisks < 1) throw notSynced();
  } catch (error) {
    throw error instanceof AppError ? error : notDurable(`Redis refused WAITAOF (${toError(error).message})`);
  }
}

/** A slow disk takes longer than a period: what was begun by now covers the writes, but must have ended. */
async function waitForSync(redis: Redis, clock: DurabilityClock): Promise<void> {
  for (let waitedMs = 0; (await readServerFacts(redis)).isSyncing; waitedMs += connectionLimits.syncPollMs) {
    if (waitedMs >= connectionLimits.durableTimeoutMs) throw notSynced();
    await clock.sleep(connectionLimits.syncPollMs);
  }
}

function notSynced(): AppError {
  return notDurable('Redis did not sync its append-only file in time');
}

function notDurable(why: string): AppError {
  return new AppError('storage_failed', `What is stored is not surely on disk: ${why}. Nothing was deleted upstream.`);
}
