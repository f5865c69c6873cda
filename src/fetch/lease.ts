/**
 * The maildrop's lease: at most one session of ours in one maildrop at a time (RFC 1939 §4 lets the server lock it, but
 * not all do). Each holder gets a higher fencing token than the one before, so that a late write of a holder who
 * was thought dead can be told and refused.
 */
import type { RedisClient } from '../redis/client.ts';
import { leaseKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { leaseTtlMs } from './limits.ts';

export interface Lease {
  token: number;
  /** False when it is another's by now. */
  renew(): Promise<boolean>;
  release(): Promise<void>;
}

export interface Leases {
  /** Null while another holds it. `owner` is unique to this attempt. */
  acquire(tenant: string, mailboxId: string, owner: string): Promise<Lease | null>;
}

/** The token is the server's clock in microseconds, or one more than the last: it rises even if the fence key was lost. */
const acquireLease = defineScript(`
  if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local token = math.max(now, tonumber(redis.call('GET', KEYS[2]) or '0') + 1)
  local text = string.format('%.0f', token)
  redis.call('SET', KEYS[2], text, 'PX', 86400000)
  return text`);

const renewLease = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])`);

const releaseLease = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('DEL', KEYS[1])`);

export function createLeases(redis: RedisClient): Leases {
  return {
    async acquire(tenant, mailboxId, owner) {
      const keys = leaseKeys(tenant, mailboxId);
      const token = await acquireLease(redis, [keys.owner, keys.fence], [owner, leaseTtlMs]);
      if (typeof token !== 'string') return null;
      return {
        token: Number(token),
        renew: async () => (await renewLease(redis, [keys.owner], [owner, leaseTtlMs])) === 1,
        release: async () => {
          await releaseLease(redis, [keys.owner], [owner]);
        },
      };
    },
  };
}
