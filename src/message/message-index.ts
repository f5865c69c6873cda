/**
 * The indexes of messages in Redis: by time within a tenant and within a mailbox, by digest within a mailbox, and by when they
 * expire. All of it can be made anew from the records; none of it says what a message is.
 *
 * A tenant's index is spread over shards by the message's id, so that no slot of Redis Cluster has to hold all of a tenant's.
 * An entry is taken out only where it stands for the record that is deleted, or one before it: a later one has a later time.
 */
import type { RedisClient } from '../redis/client.ts';
import { digestsKey, expiryKey, mailboxIndexKeys, tenantIndexKeys, type MessageIndexKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { draftAgeMsMax, indexShards } from './limits.ts';
import type { MessageRecord } from './message.ts';

export type SortKey = 'fetched' | 'received';

/** A place in an index: the time, in epoch milliseconds, and what tells messages of the same time apart. */
export interface Position {
  score: number;
  /** The message's id. */
  id: string;
}

export interface Span {
  sort: SortKey;
  order: 'newest' | 'oldest';
  /** Epoch milliseconds; from inclusive, until exclusive. */
  from: number;
  until: number;
  /** Only what comes behind it in that order. */
  after: Position | null;
}

export interface Usage {
  messages: number;
  bytes: number;
}

export interface ExpiryEntry {
  tenant: string;
  id: string;
  atMs: number;
}

export interface MessageIndex {
  /** Puts right what is there of it. */
  add(tenant: string, record: MessageRecord): Promise<void>;
  remove(tenant: string, record: MessageRecord): Promise<void>;
  /** Takes out what is known of a message by its id alone. */
  removeUnknown(tenant: string, id: string): Promise<void>;
  /** The next positions, `limit` at most, of a mailbox or of the whole tenant. */
  list(tenant: string, mailboxId: string | null, span: Span, limit: number): Promise<Position[]>;
  usage(tenant: string): Promise<Usage>;
  /** The message of the mailbox that was the first with these bytes. */
  findByDigest(tenant: string, mailboxId: string, digest: string): Promise<string | null>;
  /** Before anything else of a message is written, so that all of it is found when its time is over. */
  expireAt(tenant: string, id: string, atMs: number): Promise<void>;
  /** Forgets when it expires, where that is the time. */
  forgetExpiry(tenant: string, id: string, atMs: number): Promise<void>;
  /** A page of what has expired, of one shard, the earliest first. */
  listExpired(shard: number, nowMs: number, offset: number, limit: number): Promise<ExpiryEntry[]>;
}

/** KEYS: index. ARGV: id, score, score, bytes, ttl. The keys of a mailbox that gets no mail any more go by themselves. */
const addEntry = defineScript(`
  local added = redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  if added == 1 then
    redis.call('HINCRBY', KEYS[3], 'messages', 1)
    redis.call('HINCRBY', KEYS[3], 'bytes', ARGV[4])
  end
  for i = 1, 3 do
    if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[i], ARGV[5]) end
  end
  return added`);

/** KEYS: index. ARGV: id, fetched score, minus its bytes. What was fetched later under this id stays. */
const removeEntry = defineScript(`
  local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not score then return 0 end
  if tonumber(score) > tonumber(ARGV[2]) then return 0 end
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[3], 'messages', -1)
  redis.call('HINCRBY', KEYS[3], 'bytes', ARGV[3])
  if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[3]) end
  return 1`);

/**
 * KEYS: sorted set. ARGV: 'newest' or 'oldest', from, until, score and id of the place before (or ''), limit.
 * Finds its place by halving, so that a thousand messages of the same moment cost what one does.
 */
const listEntries = defineScript(`
  local newest, from, till = ARGV[1] == 'newest', tonumber(ARGV[2]), tonumber(ARGV[3])
  local command = newest and 'ZREVRANGE' or 'ZRANGE'
  local function isBefore(member, score)
    score = tonumber(score)
    if ARGV[5] ~= '' then
      local at = tonumber(ARGV[4])
      if newest then
        if score > at or (score == at and member >= ARGV[5]) then return true end
      else
        if score < at or (score == at and member <= ARGV[5]) then return true end
      end
    end
    if newest then return score >= till else return score < from end
  end
  local low, high = 0, redis.call('ZCARD', KEYS[1])
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call(command, KEYS[1], middle, middle, 'WITHSCORES')
    if isBefore(entry[1], entry[2]) then low = middle + 1 else high = middle end
  end
  local found = redis.call(command, KEYS[1], low, low + ARGV[6] - 1, 'WITHSCORES')
  local kept = {}
  for i = 1, #found, 2 do
    local score = tonumber(found[i + 1])
    if (newest and score < from) or (not newest and score >= till) then break end
    kept[i], kept[i + 1] = found[i], found[i + 1]
  end
  return kept`);

/** KEYS: sorted set. ARGV: member, score. */
const forgetEntry = defineScript(`
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 'nan') ~= tonumber(ARGV[2]) then return 0 end
  return redis.call('ZREM', KEYS[1], ARGV[1])`);

/** KEYS: hash. ARGV: field, value. */
const forgetDigest = defineScript(`
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
  return redis.call('HDEL', KEYS[1], ARGV[1])`);

/** KEYS: hash. ARGV: field, value, ttl. */
const keepDigest = defineScript(`
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  return 1`);

const ID_PREFIX = 'msg_';
/** Hex digits of a digest that tell the messages of one mailbox apart: 80 bits, and the record has the rest. */
const DIGEST_CHARS = 20;

export function createMessageIndex(redis: RedisClient): MessageIndex {
  const indexesOf = (tenant: string, id: string, mailboxId: string): MessageIndexKeys[] => [
    tenantIndexKeys(tenant, shardOf(id)),
    mailboxIndexKeys(tenant, mailboxId),
  ];
  const allShards = Array.from({ length: indexShards }, (_, shard) => shard);

  return {
    async add(tenant, record) {
      const { id, mailboxId, digest, duplicateOf } = record;
      const { fetched, received, expires } = timesOf(record);
      // A day more than the messages: an index is not to go before the sweeper has been there.
      const ttlMs = Math.max(1, expires - fetched) + draftAgeMsMax;
      const args = [bare(id), fetched, received, record.size, ttlMs];
      await Promise.all([
        ...indexesOf(tenant, id, mailboxId).map((keys) => addEntry(redis, Object.values(keys), args)),
        digest !== null &&
          duplicateOf === null &&
          keepDigest(redis, [digestsKey(tenant, mailboxId)], [short(digest), bare(id), ttlMs]),
      ]);
    },
    async remove(tenant, record) {
      const { id, mailboxId, digest, size } = record;
      const args = [bare(id), timesOf(record).fetched, -size];
      await Promise.all([
        ...indexesOf(tenant, id, mailboxId).map((keys) => removeEntry(redis, Object.values(keys), args)),
        digest !== null && forgetDigest(redis, [digestsKey(tenant, mailboxId)], [short(digest), bare(id)]),
      ]);
    },
    async removeUnknown(tenant, id) {
      // Its bytes stay counted: how many they were is nowhere to be read. They go with the tenant's last message.
      await removeEntry(redis, Object.values(tenantIndexKeys(tenant, shardOf(id))), [
        bare(id),
        Number.MAX_SAFE_INTEGER,
        0,
      ]);
    },
    async list(tenant, mailboxId, { sort, order, from, until, after }, limit) {
      const indexes =
        mailboxId === null
          ? allShards.map((shard) => tenantIndexKeys(tenant, shard))
          : [mailboxIndexKeys(tenant, mailboxId)];
      const args = [order, from, until, after?.score ?? 0, after ? bare(after.id) : '', limit];
      const found = await Promise.all(
        indexes.map((keys) => listEntries(redis, [keys[sort]], args) as Promise<string[]>),
      );
      const positions = found.flatMap(readPositions).toSorted(comparePositions);
      return (order === 'newest' ? positions.toReversed() : positions).slice(0, limit);
    },
    async usage(tenant) {
      const shards = await Promise.all(
        allShards.map((shard) => redis.hmget(tenantIndexKeys(tenant, shard).usage, 'messages', 'bytes')),
      );
      const sum = (at: 0 | 1): number => shards.reduce((total, counts) => total + Number(counts[at] ?? 0), 0);
      return { messages: sum(0), bytes: sum(1) };
    },
    async findByDigest(tenant, mailboxId, digest) {
      const id = await redis.hget(digestsKey(tenant, mailboxId), short(digest));
      return id === null ? null : ID_PREFIX + id;
    },
    async expireAt(tenant, id, atMs) {
      await redis.zadd(expiryKey(shardOf(id)), atMs, `${tenant}/${bare(id)}`);
    },
    async forgetExpiry(tenant, id, atMs) {
      await forgetEntry(redis, [expiryKey(shardOf(id))], [`${tenant}/${bare(id)}`, atMs]);
    },
    async listExpired(shard, nowMs, offset, limit) {
      const key = expiryKey(shard);
      const found = await redis.zrangebyscore(key, '-inf', nowMs, 'WITHSCORES', 'LIMIT', offset, limit);
      return readPairs(found).map(([member, score]) => {
        const [tenant = '', id = ''] = member.split('/');
        return { tenant, id: ID_PREFIX + id, atMs: Number(score) };
      });
    },
  };
}

function timesOf({ fetchedAt, receivedAt, expiresAt }: MessageRecord) {
  const fetched = Date.parse(fetchedAt);
  return { fetched, received: receivedAt === null ? fetched : Date.parse(receivedAt), expires: Date.parse(expiresAt) };
}

/** Ids end in base 32, evenly spread. */
function shardOf(id: string): number {
  return (id.codePointAt(id.length - 1) ?? 0) % indexShards;
}

/** What is the same in all ids need not be kept a million times. */
function bare(id: string): string {
  return id.slice(ID_PREFIX.length);
}

function short(digest: string): Buffer {
  return Buffer.from(digest.slice(0, DIGEST_CHARS), 'hex');
}

function readPositions(flat: string[]): Position[] {
  return readPairs(flat).map(([id, score]) => ({ id: ID_PREFIX + id, score: Number(score) }));
}

function readPairs(flat: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) pairs.push([flat[index] ?? '', flat[index + 1] ?? '']);
  return pairs;
}

function comparePositions(a: Position, b: Position): number {
  return a.score - b.score || (a.id < b.id ? -1 : Number(a.id > b.id));
}
