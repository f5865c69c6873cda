/**
 * To which webhooks something is due: a sorted set per shard. Who claims a webhook puts it off by a while in the same step: if the
 * claimer dies, it comes due again by itself. What is due of one webhook is known to its own keys; this only says where to look.
 */
import { createHash } from 'node:crypto';
import type { RedisClient } from '../redis/client.ts';
import { dueWebhooksKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { claimMs, webhookShards } from './limits.ts';
import type { WebhookRef } from './webhook.ts';

export interface ClaimedWebhook extends WebhookRef {
  /** Until when it is put off: a number that no other claim has. */
  claim: number;
}

export interface DueWebhooks {
  /** Something is due to it at this time, or sooner. */
  wake(ref: WebhookRef, atMs: number): Promise<void>;
  /** Of all shards, `max` of each at most. Of several who ask at once, each webhook goes to one. */
  claim(nowMs: number, max: number): Promise<ClaimedWebhook[]>;
  /** Puts when it is due next, or nothing more where that is null; unless somebody woke it, or claimed it, meanwhile. */
  settle(claimed: ClaimedWebhook, nextMs: number | null): Promise<void>;
}

const wakeOne = defineScript(`
  local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not due or tonumber(due) > tonumber(ARGV[2]) then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) end
  return 1`);

const claimDue = defineScript(`
  local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
  for _, member in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[3], member) end
  return due`);

const settleOne = defineScript(`
  local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not due or tonumber(due) ~= tonumber(ARGV[2]) then return 0 end
  if ARGV[3] == '' then redis.call('ZREM', KEYS[1], ARGV[1]) else redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1]) end
  return 1`);

/** @param random 0 to 1. */
export function createDueWebhooks(redis: RedisClient, random: () => number): DueWebhooks {
  return {
    async wake(ref, atMs) {
      await wakeOne(redis, [keyOf(ref)], [memberOf(ref), atMs]);
    },
    async claim(nowMs, max) {
      const shards = Array.from({ length: webhookShards }, async (_, shard) => {
        // Two claims in one millisecond are two numbers.
        const claim = nowMs + claimMs + random();
        const found = (await claimDue(redis, [dueWebhooksKey(shard)], [nowMs, max, claim])) as string[];
        return found.map((member) => claimOf(member, claim));
      });
      return (await Promise.all(shards)).flat();
    },
    async settle(claimed, nextMs) {
      await settleOne(redis, [keyOf(claimed)], [memberOf(claimed), claimed.claim, nextMs ?? '']);
    },
  };
}

function keyOf({ id }: WebhookRef): string {
  return dueWebhooksKey(createHash('sha256').update(id).digest().readUInt32BE(0) % webhookShards);
}

function memberOf({ tenant, id }: WebhookRef): string {
  return `${tenant}/${id}`;
}

function claimOf(member: string, claim: number): ClaimedWebhook {
  const slash = member.lastIndexOf('/');
  return { tenant: member.slice(0, slash), id: member.slice(slash + 1), claim };
}
