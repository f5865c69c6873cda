/**
 * Which of very many things are in a state that is not the usual one: a set for each such state, in shards. What is as usual is in none of
 * them and costs nothing; how many it is follows from how many there are in all. Note a state before it is written where it counts:
 * a crash in between leaves a state that is written anyhow when that is tried again.
 */
import { createHash } from 'node:crypto';
import type { RedisClient } from './client.ts';
import { stateKey } from './keys.ts';
import { stateShards } from './limits.ts';
import { defineScript } from './script.ts';

export interface StateIndex<State extends string> {
  /** @param state null for the usual one, and for what is no more. @param unless what is in that state stays there. */
  note(member: string, state: State | null, unless?: State): Promise<void>;
  count(): Promise<Record<State, number>>;
}

/** KEYS: the set of each state. ARGV: member, place of the state or 0, place of the state that it keeps or 0. */
const noteOne = defineScript(`
  local keeps = tonumber(ARGV[3])
  if keeps > 0 and redis.call('SISMEMBER', KEYS[keeps], ARGV[1]) == 1 then return 0 end
  for place, key in ipairs(KEYS) do
    redis.call(place == tonumber(ARGV[2]) and 'SADD' or 'SREM', key, ARGV[1])
  end
  return 1`);

/** @param kind of what the members are. */
export function createStateIndex<State extends string>(
  redis: RedisClient,
  kind: string,
  states: readonly State[],
): StateIndex<State> {
  const keysOf = (shard: number): string[] => states.map((state) => stateKey(kind, shard, state));
  const placeOf = (state: State | null | undefined): number => (state ? states.indexOf(state) + 1 : 0);
  return {
    async note(member, state, unless) {
      const shard = createHash('sha256').update(member).digest().readUInt32BE(0) % stateShards;
      await noteOne(redis, keysOf(shard), [member, placeOf(state), placeOf(unless)]);
    },
    async count() {
      const shards = Array.from({ length: stateShards }, (_, shard) => keysOf(shard));
      const counts = await Promise.all(
        states.map(async (state, at) => {
          const sizes = await Promise.all(shards.map((keys) => redis.scard(keys[at] ?? '')));
          return [state, sizes.reduce((sum, size) => sum + size, 0)] as const;
        }),
      );
      return Object.fromEntries(counts) as Record<State, number>;
    },
  };
}
