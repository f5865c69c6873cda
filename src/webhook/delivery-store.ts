/**
 * The deliveries to one webhook in Redis, all in one slot: a hash of them, a log by time, and a queue by when each is due. In ordered
 * mode the queue holds the lines of mailboxes in place of deliveries, and the head of a line is what is due.
 *
 * One worker at a time delivers to a webhook. What it writes is refused once another has taken over.
 */
import type { EventRef } from '../event/event.ts';
import { fetchOfWebhook } from '../identity.ts';
import type { RedisClient } from '../redis/client.ts';
import { webhookKeys, webhookLineKey, type WebhookKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { decodeDelivery, encodeDelivery, type Delivery } from './delivery-record.ts';
import { emptyHealth, type Health } from './health.ts';
import { drainerMs, endedAgeMs, endedMax } from './limits.ts';
import { isOfFetch, type WebhookRef } from './webhook.ts';

export interface DueDelivery {
  /** Its place in the queue: the event's id, or a line. */
  member: string;
  delivery: Delivery;
}

export interface DeliveryStore {
  /**
   * Writes the delivery and puts it in the queue, unless it is known. False where it is for the webhook of a fetch that has none.
   * @param isOrdered behind those of its mailbox.
   */
  begin(ref: WebhookRef, delivery: Delivery, isOrdered: boolean): Promise<boolean>;
  find(ref: WebhookRef, eventId: string): Promise<Delivery | null>;
  readHealth(ref: WebhookRef): Promise<Health>;
  /** False while another worker delivers to it. */
  take(ref: WebhookRef, owner: string): Promise<boolean>;
  /** False where another has taken over. */
  renew(ref: WebhookRef, owner: string): Promise<boolean>;
  /**
   * Lets go of it. Null where nothing is left; else when the next is due, at the earliest at `notBeforeMs`; `more` where that is now, and
   * then it is still held.
   */
  release(ref: WebhookRef, owner: string, nowMs: number, notBeforeMs: number): Promise<number | null | 'more'>;
  /** What is due, the longest overdue first, without those in `except`. */
  listDue(ref: WebhookRef, nowMs: number, max: number, except: ReadonlySet<string>): Promise<DueDelivery[]>;
  /** False where another worker has taken over. Each delivery's own next attempt, or its end; and how the endpoint has fared. */
  record(
    ref: WebhookRef,
    owner: string,
    attempted: readonly DueDelivery[],
    health: Health,
    nowMs: number,
  ): Promise<boolean>;
  /** Sends one that has ended again. False where it has changed meanwhile: then it is being sent. @param isOrdered behind those of its mailbox. */
  requeue(ref: WebhookRef, was: Delivery, again: Delivery, isOrdered: boolean): Promise<boolean>;
  /** How many happened while popbridge had the webhook disabled, and were not sent since. */
  countMissed(ref: WebhookRef): Promise<number>;
  /** Tries it again later, as it is. */
  putOff(ref: WebhookRef, member: string, untilMs: number): Promise<void>;
  /** All of a webhook that is no more. */
  forget(ref: WebhookRef): Promise<void>;
}

/** KEYS begin with deliveries, log, ended, missed. Forgets what ended first: beyond so many, and before then; a bounded number at once. */
const TRIM = `
  local function trim(max, since)
    local surplus = math.min(redis.call('ZCARD', KEYS[3]) - tonumber(max), 100)
    local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', since, 'LIMIT', 0, 100)
    if surplus > #old then old = redis.call('ZRANGE', KEYS[3], 0, surplus - 1) end
    for _, id in ipairs(old) do
      redis.call('HDEL', KEYS[1], id)
      redis.call('ZREM', KEYS[2], id)
      redis.call('ZREM', KEYS[3], id)
      redis.call('SREM', KEYS[4], id)
    end
  end`;

/**
 * KEYS: deliveries, log, ended, missed, queue, line, webhook of the fetch.
 * ARGV: event id, delivery, now, line or nothing, where it belongs (`queue`, `missed`, or `fetch`: the queue, where there is such a webhook),
 * how many that have ended are kept, since when.
 */
const beginOne = defineScript(`${TRIM}
  local life = redis.call('HGET', KEYS[7], 'life')
  if ARGV[5] == 'fetch' and not life then return 0 end
  if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 1 end
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  if ARGV[5] == 'missed' then
    redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
    redis.call('SADD', KEYS[4], ARGV[1])
    trim(ARGV[6], ARGV[7])
  elseif ARGV[4] == '' then
    redis.call('ZADD', KEYS[5], ARGV[3], ARGV[1])
  else
    redis.call('RPUSH', KEYS[6], ARGV[1])
    redis.call('ZADD', KEYS[5], 'NX', ARGV[3], ARGV[4])
  end
  if life then
    for _, key in ipairs({ KEYS[1], KEYS[2], KEYS[5], KEYS[7] }) do redis.call('PEXPIRE', key, life) end
  end
  return 1`);

/** KEYS: deliveries, ended, missed, queue, line, webhook of the fetch. ARGV: event id, delivery as it was, as it is to be, now, line or nothing. */
const requeueOne = defineScript(`
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[3], ARGV[1])
  if ARGV[5] == '' then
    redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
  else
    redis.call('RPUSH', KEYS[5], ARGV[1])
    redis.call('ZADD', KEYS[4], 'NX', ARGV[4], ARGV[5])
  end
  local life = redis.call('PTTL', KEYS[6])
  if life > 0 then
    redis.call('PEXPIRE', KEYS[4], life)
    redis.call('HINCRBY', KEYS[6], ARGV[2]:sub(1, 1), -1)
  end
  return 1`);

/**
 * KEYS: deliveries, log, ended, missed, queue, health, drainer, webhook of the fetch, which counts what has ended, and forgets nothing; the
 * line of each delivery.
 * ARGV: owner, health, now, how many that have ended are kept, since when; of each delivery its event id, itself, member, next attempt or nothing.
 */
const recordSome = defineScript(`${TRIM}
  if redis.call('GET', KEYS[7]) ~= ARGV[1] then return 0 end
  local now = ARGV[3]
  redis.call('SET', KEYS[6], ARGV[2])
  local life = redis.call('PTTL', KEYS[8])
  if life > 0 then redis.call('PEXPIRE', KEYS[6], life) end

  local function leaveQueue(id, member, line)
    if member == id then return redis.call('ZREM', KEYS[5], member) end
    redis.call('LREM', line, 1, id)
    if redis.call('EXISTS', line) == 1 then
      redis.call('ZADD', KEYS[5], now, member)
    else
      redis.call('ZREM', KEYS[5], member)
    end
  end

  for at = 6, #ARGV, 4 do
    local id, delivery, member, nextAt = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local state = delivery:sub(1, 1)
    redis.call('HSET', KEYS[1], id, delivery)
    if life > 0 and state ~= 'd' then redis.call('HSET', KEYS[8], 'lastFailure', now .. ' ' .. id) end
    if nextAt ~= '' then
      redis.call('ZADD', KEYS[5], nextAt, member)
    else
      leaveQueue(id, member, KEYS[9 + (at - 6) / 4])
      if life > 0 then
        redis.call('HINCRBY', KEYS[8], state, 1)
      else
        redis.call('ZADD', KEYS[3], now, id)
      end
    end
  end
  if life <= 0 then trim(ARGV[4], ARGV[5]) end
  return 1`);

/** KEYS: queue, deliveries. ARGV: now, how many, members that are not wanted. Members and, where they are no lines, their deliveries. */
const listSome = defineScript(`
  local unwanted = {}
  for at = 3, #ARGV do unwanted[ARGV[at]] = true end
  local members = {}
  local max = tonumber(ARGV[2])
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, max + #ARGV - 2)) do
    if not unwanted[member] and #members < max then members[#members + 1] = member end
  end
  return { members, #members > 0 and redis.call('HMGET', KEYS[2], unpack(members)) or {} }`);

/** KEYS: drainer. ARGV: owner, ttl. */
const renewOne = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])`);

/** KEYS: queue, drainer. ARGV: owner, now, not before. What is put in the queue later is found by whoever comes next. */
const releaseOne = defineScript(`
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  local nextAt = first[2] and math.max(tonumber(first[2]), tonumber(ARGV[3]))
  if redis.call('GET', KEYS[2]) == ARGV[1] then
    if nextAt and nextAt <= tonumber(ARGV[2]) then return 'more' end
    redis.call('DEL', KEYS[2])
  end
  return nextAt and string.format('%.0f', nextAt)`);

/** KEYS: queue, deliveries, line. ARGV: member. Takes it from the queue where nothing is behind it: that would be due for ever. */
const dropOne = defineScript(`
  if ARGV[1]:sub(1, 5) == 'line:' then
    local head = redis.call('LINDEX', KEYS[3], 0)
    if head and redis.call('HEXISTS', KEYS[2], head) == 0 then redis.call('LPOP', KEYS[3]) end
    if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
  elseif redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
    return 0
  end
  return redis.call('ZREM', KEYS[1], ARGV[1])`);

const LINE = 'line:';

export function createDeliveryStore(redis: RedisClient): DeliveryStore {
  const lineKeyOf = (ref: WebhookRef, member: string) =>
    webhookLineKey(ref.tenant, ownerOf(ref), member.startsWith(LINE) ? member.slice(LINE.length) : '');

  async function find(ref: WebhookRef, eventId: string): Promise<Delivery | null> {
    const value = await redis.hget(keysOf(ref).deliveries, eventId);
    return value === null ? null : decodeDelivery(ref, eventId, value);
  }

  /** Of a line; null where there is none. */
  async function findHead(ref: WebhookRef, member: string): Promise<Delivery | null> {
    const eventId = member.startsWith(LINE) ? await redis.lindex(lineKeyOf(ref, member), 0) : null;
    return eventId === null ? null : find(ref, eventId);
  }

  return {
    find,
    async begin(ref, delivery, isOrdered) {
      const { deliveries, log, ended, missed, queue, ofFetch } = keysOf(ref);
      const { event, state, createdAt } = delivery;
      const line = isOrdered ? lineOf(event) : '';
      const place = isOfFetch(ref) ? 'fetch' : state === 'pending' ? 'queue' : 'missed';
      const nowMs = Date.parse(createdAt);
      const keys = [deliveries, log, ended, missed, queue, lineKeyOf(ref, line), ofFetch];
      const facts = [event.id, encodeDelivery(delivery), nowMs, line, place];
      return (await beginOne(redis, keys, [...facts, endedMax, nowMs - endedAgeMs])) === 1;
    },
    async requeue(ref, was, again, isOrdered) {
      const { deliveries, ended, missed, queue, ofFetch } = keysOf(ref);
      const line = isOrdered ? lineOf(was.event) : '';
      const facts = [was.event.id, encodeDelivery(was), encodeDelivery(again), Date.parse(again.nextAttemptAt ?? '')];
      const keys = [deliveries, ended, missed, queue, lineKeyOf(ref, line), ofFetch];
      return (await requeueOne(redis, keys, [...facts, line])) === 1;
    },
    countMissed: (ref) => redis.scard(keysOf(ref).missed),
    async readHealth(ref) {
      const value = await redis.get(keysOf(ref).health);
      return value === null ? emptyHealth : { ...emptyHealth, ...(JSON.parse(value) as Partial<Health>) };
    },
    take: async (ref, owner) => (await redis.set(keysOf(ref).drainer, owner, 'PX', drainerMs, 'NX')) === 'OK',
    renew: async (ref, owner) => (await renewOne(redis, [keysOf(ref).drainer], [owner, drainerMs])) === 1,
    async release(ref, owner, nowMs, notBeforeMs) {
      const { queue, drainer } = keysOf(ref);
      const next = (await releaseOne(redis, [queue, drainer], [owner, nowMs, notBeforeMs])) as string | null;
      return next === null || next === 'more' ? next : Number(next);
    },
    async listDue(ref, nowMs, max, except) {
      const { queue, deliveries } = keysOf(ref);
      const listed = await listSome(redis, [queue, deliveries], [nowMs, max, ...except]);
      const [members, values] = listed as [members: string[], values: (string | null)[]];
      const found = await Promise.all(
        members.map(async (member, at) => {
          const value = values[at];
          const delivery = value ? decodeDelivery(ref, member, value) : await findHead(ref, member);
          if (!delivery) await dropOne(redis, [queue, deliveries, lineKeyOf(ref, member)], [member]);
          return delivery && { member, delivery };
        }),
      );
      return found.filter((due) => due !== null);
    },
    async record(ref, owner, attempted, health, nowMs) {
      const { deliveries, log, ended, missed, queue, health: healthKey, drainer, ofFetch } = keysOf(ref);
      const keys = [deliveries, log, ended, missed, queue, healthKey, drainer, ofFetch];
      const lines = attempted.map(({ member }) => lineKeyOf(ref, member));
      const facts = attempted.flatMap(({ member, delivery }) => {
        const { event, nextAttemptAt } = delivery;
        return [event.id, encodeDelivery(delivery), member, nextAttemptAt === null ? '' : Date.parse(nextAttemptAt)];
      });
      const bounds = [endedMax, nowMs - endedAgeMs];
      const args = [owner, JSON.stringify(health), nowMs, ...bounds, ...facts];
      return (await recordSome(redis, [...keys, ...lines], args)) === 1;
    },
    async putOff(ref, member, untilMs) {
      await redis.zadd(keysOf(ref).queue, 'XX', untilMs, member);
    },
    async forget(ref) {
      const { queue, ...keys } = keysOf(ref);
      for (const member of await redis.zrange(queue, '0', '-1')) {
        if (member.startsWith(LINE)) await redis.unlink(lineKeyOf(ref, member));
      }
      await redis.unlink(queue, ...Object.values(keys));
    },
  };
}

/** Of the deliveries to a webhook, or to that of a fetch. */
export function keysOf(ref: WebhookRef): WebhookKeys {
  return webhookKeys(ref.tenant, ownerOf(ref));
}

function ownerOf({ id }: WebhookRef): string {
  return fetchOfWebhook(id) ?? id;
}

function lineOf({ mailboxId }: EventRef): string {
  return `${LINE}${mailboxId ?? ''}`;
}
