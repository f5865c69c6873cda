/** A turn that one process at a time has at something that all could do, for as long as it keeps taking it. It spares work, and is no lock. */
import type { RedisClient } from './client.ts';
import { defineScript } from './script.ts';

export interface Turn {
  /** Whether it is this owner's, for `turnMs` from now on. */
  take(): Promise<boolean>;
  /** Leaves it to the others at once. */
  end(): Promise<void>;
}

const takeOne = defineScript(`
  if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])`);

const endOne = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('DEL', KEYS[1])`);

/** @param owner unique to this process. */
export function createTurn(redis: RedisClient, key: string, owner: string, turnMs: number): Turn {
  return {
    take: async () => (await takeOne(redis, [key], [owner, turnMs])) === 1,
    async end() {
      await endOne(redis, [key], [owner]);
    },
  };
}
