/**
 * Whether what was written to Redis is on its disk, and where a failover would find it. `appendfsync everysec` can lose the last
 * second, and replication is asynchronous, so nothing may be deleted upstream on the strength of a write alone.
 *
 * Every replica must have it in its memory (WAIT): which of them is promoted is not ours to say. Redis 7.2 and newer tell of the disk by
 * WAITAOF. On older ones two sync periods must pass, and then no sync be under way. In all cases the server must be the same process as
 * before the first write: one that was restarted, or promoted, in between may be without it.
 *
 * In a cluster a commit writes to many slots, and what it needs may be on each master. So all of them are asked, and they must be the
 * same ones, all over the slots, from the first write to the last answer.
 */
import type { ChainableCommander, Redis } from 'ioredis';
import { AppError, toError } from '../errors.ts';
import { mastersOf, refreshMasters, type Master, type RedisClient } from './client.ts';
import { connectionLimits } from './limits.ts';
import { readServerFacts, readSyncPolicy, type ServerFacts } from './server-facts.ts';

export interface Durability {
  /** Call before the first write that `confirm` is to cover. */
  begin(): Promise<DurabilityCheck>;
}

export interface DurabilityCheck {
  /**
   * Resolves when every write made through the writes' connection since `begin` is on disk, and on every replica.
   * @throws AppError `storage_failed` when that cannot be said.
   */
  confirm(): Promise<void>;
}

export interface DurabilityClock {
  sleep(ms: number): Promise<void>;
}

export interface DurabilityOptions {
  /** The connection whose writes are meant, where it is another one: WAIT and WAITAOF hold up all that is sent behind them. */
  writes?: RedisClient;
  /** How many replicas must have the writes; all that are connected, where these are more. None unless set. */
  replicasMin?: number;
}

/** A master, and what it said of itself. */
interface Reading extends Master {
  facts: ServerFacts;
}

/** @param redis a connection of its own where `writes` is given. */
export function createDurability(
  redis: RedisClient,
  clock: DurabilityClock,
  options: DurabilityOptions = {},
): Durability {
  const { writes = redis, replicasMin = 0 } = options;

  /** A connection that nobody has closed may still lead to the master of before a failover. */
  async function readMasters(): Promise<ReadonlyMap<string, Reading>> {
    await refreshMasters(redis);
    const masters = await readAll(redis);
    const isElsewhere = writes !== redis && !areSame(await readAll(writes), masters);
    if (isElsewhere || [...masters.values()].some(({ facts }) => facts.isReplica)) {
      // Nothing is refused where nothing is written: this one would stay there for ever.
      redis.disconnect(true);
      throw notDurable(
        'Redis is failing over: a master has become a replica, or not all connections lead to one server',
      );
    }
    for (const { facts } of masters.values()) refuseVolatile(facts);
    return masters;
  }

  return {
    async begin() {
      const before = await readMasters();
      for (const { redis, facts } of before.values()) {
        if (!facts.hasWaitAof && (await readSyncPolicy(redis)) === 'no') {
          throw notDurable('Redis leaves syncing to the system (set "appendfsync everysec")');
        }
      }
      return {
        async confirm() {
          const now = await readMasters();
          // Before anything is waited for in vain. One that is new has what is asked of it from another.
          if (!areSame(before, now)) throw restarted();
          await Promise.all(
            [...now].map(async ([name, master]) => {
              // A replica that was lost meanwhile may be promoted all the same. The next session does without it.
              const replicas = Math.max(replicasMin, before.get(name)?.facts.replicas ?? 0, master.facts.replicas);
              await waitForReplicas(master, replicas);
              await waitForDisk(master, clock);
            }),
          );
          if (!areSame(before, await readMasters())) throw restarted();
        },
      };
    },
  };
}

async function readAll(client: RedisClient): Promise<ReadonlyMap<string, Reading>> {
  const readings = [...mastersOf(client)].map(
    async ([name, master]) => [name, { ...master, facts: await readServerFacts(master.redis) }] as const,
  );
  return new Map(await Promise.all(readings));
}

function areSame(some: ReadonlyMap<string, Reading>, others: ReadonlyMap<string, Reading>): boolean {
  const isSame = ([name, { facts }]: [string, Reading]): boolean => others.get(name)?.facts.runId === facts.runId;
  return some.size === others.size && [...some].every(isSame);
}

function refuseVolatile({ appendOnly, lastWriteOk }: ServerFacts): void {
  if (!appendOnly) throw notDurable('Redis keeps no append-only file (set "appendonly yes")');
  if (!lastWriteOk) throw notDurable('Redis could not write its append-only file');
}

/** WAIT speaks for the writes of its connection, and so for all that came before: this write comes after all that it is to cover. */
async function waitForReplicas({ redis, markKey }: Master, count: number): Promise<void> {
  const [, waited] = await pipe(
    redis
      .pipeline()
      .set(markKey, '', 'PX', connectionLimits.durableTimeoutMs)
      .call('WAIT', count, connectionLimits.durableTimeoutMs),
    'WAIT',
  );
  if (typeof waited !== 'number' || waited < count) {
    throw notDurable(`only ${String(waited)} of ${count} replicas of Redis have it`);
  }
}

/** The answers. @throws AppError `storage_failed`. */
async function pipe(commands: ChainableCommander, name: string): Promise<unknown[]> {
  try {
    const answers = (await commands.exec()) ?? [];
    for (const [error] of answers) if (error) throw error;
    return answers.map(([, answer]) => answer);
  } catch (error) {
    throw notDurable(`Redis refused ${name} (${toError(error).message})`);
  }
}

async function waitForDisk({ redis, markKey, facts }: Reading, clock: DurabilityClock): Promise<void> {
  if (!facts.hasWaitAof) {
    await clock.sleep(connectionLimits.everysecTwiceMs);
    await waitForSync(redis, clock);
    return;
  }
  // Behind a write of its own connection, as WAIT.
  const [, waited] = await pipe(
    redis
      .pipeline()
      .set(markKey, '', 'PX', connectionLimits.durableTimeoutMs)
      .call('WAITAOF', '1', '0', connectionLimits.durableTimeoutMs),
    'WAITAOF',
  );
  const [localDisks = 0] = (waited ?? []) as number[];
  if (localDisks < 1) throw notSynced();
}

/** A slow disk takes longer than a period: what was begun by now covers the writes, but must have ended. */
async function waitForSync(redis: Redis, clock: DurabilityClock): Promise<void> {
  for (let waitedMs = 0; (await readServerFacts(redis)).isSyncing; waitedMs += connectionLimits.syncPollMs) {
    if (waitedMs >= connectionLimits.durableTimeoutMs) throw notSynced();
    await clock.sleep(connectionLimits.syncPollMs);
  }
}

function restarted(): AppError {
  return notDurable('Redis was restarted or failed over meanwhile');
}

function notSynced(): AppError {
  return notDurable('Redis did not sync its append-only file in time');
}

function notDurable(why: string): AppError {
  return new AppError('storage_failed', `What is stored is not surely on disk: ${why}. Nothing was deleted upstream.`);
}
