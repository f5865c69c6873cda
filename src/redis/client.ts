/** What the stores talk to, whatever kind of Redis it is. */
import { Cluster, Command, type Redis } from 'ioredis';
import { durabilityKey } from './keys.ts';
import { clusterLimits } from './limits.ts';

/** One server, which may be found by sentinels; or a Redis Cluster, where a command may name keys of one slot only. */
export type RedisClient = Redis | Cluster;

export interface Master {
  /** Of this server alone; of a cluster, one of the client's connections. */
  redis: Redis;
  /** A key that may be written there. */
  markKey: string;
}

/**
 * The servers that take writes, each of which has a part of the keys: one, or all masters of the cluster by host and port.
 * @throws Error where a slot belongs to nobody that the client is connected to: the cluster is failing over, or starting.
 */
export function mastersOf(client: RedisClient): ReadonlyMap<string, Master> {
  if (!(client instanceof Cluster)) return new Map([['', { redis: client, markKey: durabilityKey(0) }]]);
  const owners: (string | undefined)[] = client.slots.map(([owner]) => owner);
  if (owners.length < SLOTS || owners.includes(undefined)) throw noMaster();
  const connections = new Map(client.nodes('master').map((node) => [nameOf(node), node]));
  const masters = new Map<string, Master>();
  for (const name of new Set(owners)) {
    const redis = connections.get(name ?? '');
    if (name === undefined || redis === undefined) throw noMaster();
    masters.set(name, { redis, markKey: findMarkKey((slot) => owners[slot] === name) });
  }
  return masters;
}

/** Asks the cluster anew who its masters are; a server alone has nothing to tell. */
export async function refreshMasters(client: RedisClient): Promise<void> {
  if (!(client instanceof Cluster)) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client.refreshSlotsCache((error) => (error ? reject(error) : resolve()));
  await promise;
}

/** Throws what the servers throw, unless all of them answer. */
export async function pingMasters(client: RedisClient): Promise<void> {
  await Promise.all([...mastersOf(client).values()].map(({ redis }) => redis.ping()));
}

const SLOTS = 16_384;

function findMarkKey(isOwned: (slot: number) => boolean): string {
  for (let number = 0; number < clusterLimits.markKeysTried; number += 1) {
    const key = durabilityKey(number);
    if (isOwned(new Command('get', [key]).getSlot())) return key;
  }
  throw new Error('No key was found for a master that has next to no slots');
}

function nameOf({ options: { host, port } }: Redis): string {
  return `${host}:${port}`;
}

function noMaster(): Error {
  return new Error('CLUSTERDOWN Not all slots of the cluster have a master');
}
