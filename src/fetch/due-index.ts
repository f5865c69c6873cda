/**
 * When each stored mailbox is due: a sorted set per shard, and nothing else of a mailbox. Who claims what is due puts it off by
 * a while in the same step: if the claimer dies before it has added the job, the mailbox comes due again by itself. The run that
 * ends puts the real next time, or removes a mailbox that is no more.
 */
import type { RedisClient } from '../redis/client.ts';
import { dueKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { claimMs, turnMs, turnRestMs } from './limits.ts';
import type { MailboxRef } from '../mailbox/mailbox.ts';
import { shardOf } from './shard.ts';

export interface DueMailbox extends MailboxRef {
  /** When it was due, in epoch milliseconds; or when an earlier claim of it ran out. */
  dueMs: number;
}

export interface DueIndex {
  /** Adds a mailbox, or gives it another time. */
  put(ref: MailboxRef, dueMs: number): Promise<void>;
  remove(ref: MailboxRef): Promise<void>;
  /** Null where the mailbox is not scheduled. */
  nextDue(ref: MailboxRef): Promise<number | null>;
  /** When the mailbox of the shard that is due first is, or was; null where there is none. */
  oldest(shard: number): Promise<number | null>;
  /** What is due by `nowMs`, the longest overdue first, `max` at most. Of several who ask at once, each mailbox goes to one. */
  claim(shard: number, nowMs: number, max: number): Promise<DueMailbox[]>;
  /**
   * Whether it is this owner's turn to look for what is due in the shard, for a few seconds from now on. It only spares the
   * others the work: claims are safe without.
   */
  takeTurn(shard: number, owner: string): Promise<boolean>;
  /** The turn is over, and the shard rests for a moment; then it is anybody's. */
  endTurn(shard: number, owner: string): Promise<void>;
}

const claimDue = defineScript(`
  local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
  for at = 1, #due, 2 do redis.call('ZADD', KEYS[1], ARGV[3], due[at]) end
  return due`);

const takeTurn = defineScript(`
  if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])`);

/** While it rests it has no owner: the one that had it last must not be first again. */
const endTurn = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
  return redis.call('SET', KEYS[1], '', 'PX', ARGV[2])`);

export function createDueIndex(redis: RedisClient): DueIndex {
  const keyOf = ({ mailbox }: MailboxRef): string => dueKeys(shardOf(mailbox)).mailboxes;
  return {
    async put(ref, dueMs) {
      await redis.zadd(keyOf(ref), dueMs, memberOf(ref));
    },
    async remove(ref) {
      await redis.zrem(keyOf(ref), memberOf(ref));
    },
    async nextDue(ref) {
      const score = await redis.zscore(keyOf(ref), memberOf(ref));
      return score === null ? null : Number(score);
    },
    async oldest(shard) {
      const [, dueMs] = await redis.zrange(dueKeys(shard).mailboxes, '0', '0', 'WITHSCORES');
      return dueMs === undefined ? null : Number(dueMs);
    },
    async claim(shard, nowMs, max) {
      const found = (await claimDue(redis, [dueKeys(shard).mailboxes], [nowMs, max, nowMs + claimMs])) as string[];
      return Array.from({ length: found.length / 2 }, (_, place) => ({
        ...refOf(found[place * 2] ?? ''),
        dueMs: Number(found[place * 2 + 1]),
      }));
    },
    takeTurn: async (shard, owner) => (await takeTurn(redis, [dueKeys(shard).turn], [owner, turnMs])) === 1,
    async endTurn(shard, owner) {
      await endTurn(redis, [dueKeys(shard).turn], [owner, turnRestMs]);
    },
  };
}

function memberOf({ tenant, mailbox }: MailboxRef): string {
  return `${tenant}/${mailbox}`;
}

/** Ids of mailboxes hold no slash. */
function refOf(member: string): MailboxRef {
  const slash = member.lastIndexOf('/');
  return { tenant: member.slice(0, slash), mailbox: member.slice(slash + 1) };
}
