/**
 * Which webhooks have yet to acknowledge a message that several were told of: a set for each such message, which outlives whatever is
 * kept of its deliveries.
 */
import type { RedisClient } from '../redis/client.ts';
import { awaitedKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { awaitedMs, awaitedNoMoreMs } from './limits.ts';

export interface Awaited {
  /** Before any of them may have it. Changes nothing where that was said before. */
  begin(tenant: string, eventId: string, webhookIds: readonly string[]): Promise<void>;
  /** This one has it. The others that have not; null where nothing is known of it any more. */
  acknowledge(tenant: string, eventId: string, webhookId: string): Promise<string[] | null>;
}

/** Stays in each set, which would be gone with its last member otherwise. */
const NOBODY = '';

/** KEYS: awaited. ARGV: life, members. */
const beginOne = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  for at = 2, #ARGV do redis.call('SADD', KEYS[1], ARGV[at]) end
  return redis.call('PEXPIRE', KEYS[1], ARGV[1])`);

/** KEYS: awaited. ARGV: webhook id, life, life where all have it. */
const acknowledgeOne = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 0 then return false end
  redis.call('SREM', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], redis.call('SCARD', KEYS[1]) > 1 and ARGV[2] or ARGV[3])
  return redis.call('SMEMBERS', KEYS[1])`);

export function createAwaited(redis: RedisClient): Awaited {
  return {
    async begin(tenant, eventId, webhookIds) {
      await beginOne(redis, [awaitedKey(tenant, eventId)], [awaitedMs, NOBODY, ...webhookIds]);
    },
    async acknowledge(tenant, eventId, webhookId) {
      const left = await acknowledgeOne(redis, [awaitedKey(tenant, eventId)], [webhookId, awaitedMs, awaitedNoMoreMs]);
      return left === null ? null : (left as string[]).filter((id) => id !== NOBODY);
    },
  };
}
