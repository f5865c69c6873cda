/**
 * The deliveries to one webhook in Redis, all in one slot: a hash of them, a log by time, and a queue by when each is due. In ordered
 * mode the queue holds the lines of mailboxes in place of deliveries, and the head of a line is what is due.
 *
 * One worker at a time delivers to a webhook. What it writes is refused once another has taken over.
 */
import type { EventRef } from '../event/event.ts';
import type { RedisClient } from '../redis/client.ts';
import { webhookKeys, webhookLineKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { decodeDelivery, encodeDelivery, type Delivery } from './delivery-record.ts';
import { emptyHealth, type Health } from './health.ts';
import { drainerMs, endedAgeMs, endedMax } from './limits.ts';
import type { WebhookRef } from './webhook.ts';

export interface DueDelivery {
  /** Its place in the queue: the event's id, or a line. */
  member: string;
  delivery: Delivery;
}

export interface DeliveryStore {
  /** Writes the delivery and puts it in the queue, unless it is known. @param isOrdered behind those of its mailbox. */
  begin(ref: WebhookRef, delivery: Delivery, isOrdered: boolean): Promise<void>;
  find(ref: WebhookRef, eventId: string): Promise<Delivery | null>;
  readHealth(ref: WebhookRef): Promise<Health>;
  writeHealth(ref: WebhookRef, health: Health): Promise<void>;
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
  /** False where another worker has taken over. The delivery's own next attempt, or its end; and how the endpoint has fared. */
  record(ref: WebhookRef, owner: string, due: DueDelivery, health: Health, nowMs: number): Promise<boolean>;
  /** Tries it again later, as it is. */
  putOff(ref: WebhookRef, member: string, untilMs: number): Promise<void>;
  /** All of a webhook that is no more. */
  forget(ref: WebhookRef): Promise<void>;
}

/** KEYS: deliveries, log, queue, ended, line. ARGV: event id, delivery, now, line or nothing, where it belongs (`queue` or `ended`). */
const beginOne = defineScript(`
  if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  if ARGV[5] == 'ended' then
    redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
  elseif ARGV[4] == '' then
    redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
  else
    redis.call('RPUSH', KEYS[5], ARGV[1])
    redis.call('ZADD', KEYS[3], 'NX', ARGV[3], ARGV[4])
  end
  return 1`);

/**
 * KEYS: deliveries, log, queue, ended, health, drainer, line.
 * ARGV: owner, event id, delivery, member, next attempt or nothing, health, now, how many that have ended are kept, since when.
 */
const recordOne = defineScript(`
  if redis.call('GET', KEYS[6]) ~= ARGV[1] then return 0 end
  local isLine = ARGV[4] ~= ARGV[2]
  redis.call('SET', KEYS[5], ARGV[6])
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
  if ARGV[5] ~= '' then
    redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4])
    return 1
  end
  if isLine then redis.call('LREM', KEYS[7], 1, ARGV[2]) end
  if isLine and redis.call('EXISTS', KEYS[7]) == 1 then
    redis.call('ZADD', KEYS[3], ARGV[7], ARGV[4])
  else
    redis.call('ZREM', KEYS[3], ARGV[4])
  end
  redis.call('ZADD', KEYS[4], ARGV[7], ARGV[2])
  local surplus = math.min(redis.call('ZCARD', KEYS[4]) - tonumber(ARGV[8]), 100)
  local old = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[9], 'LIMIT', 0, 100)
  if surplus > #old then old = redis.call('ZRANGE', KEYS[4], 0, surplus - 1) end
  for _, id in ipairs(old) do
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('ZREM', KEYS[4], id)
  end
  return 1`);

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
  const keysOf = ({ tenant, id }: WebhookRef) => webhookKeys(tenant, id);
  const lineKeyOf = ({ tenant, id }: WebhookRef, member: string) =>
    webhookLineKey(tenant, id, member.startsWith(LINE) ? member.slice(LINE.length) : '');

  async function find(ref: WebhookRef, eventId: string): Promise<Delivery | null> {
    const value = await redis.hget(keysOf(ref).deliveries, eventId);
    return value === null ? null : decodeDelivery(ref, eventId, value);
  }

  return {
    find,
    async begin(ref, delivery, isOrdered) {
      const { deliveries, log, queue, ended } = keysOf(ref);
      const { event, state, createdAt } = delivery;
      const line = isOrdered ? lineOf(event) : '';
      const place = state === 'pending' ? 'queue' : 'ended';
      const args = [event.id, encodeDelivery(delivery), Date.parse(createdAt), line, place];
      await beginOne(redis, [deliveries, log, queue, ended, lineKeyOf(ref, line)], args);
    },
    async readHealth(ref) {
      const value = await redis.get(keysOf(ref).health);
      return value === null ? emptyHealth : (JSON.parse(value) as Health);
    },
    async writeHealth(ref, health) {
      await redis.set(keysOf(ref).health, JSON.stringify(health));
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
      const members = await redis.zrangebyscore(queue, '-inf', nowMs, 'LIMIT', 0, max + except.size);
      const found = await Promise.all(
        members
          .filter((member) => !except.has(member))
          .slice(0, max)
          .map(async (member) => {
            const isLine = member.startsWith(LINE);
            const eventId = isLine ? await redis.lindex(lineKeyOf(ref, member), 0) : member;
            const delivery = eventId === null ? null : await find(ref, eventId);
            if (!delivery) await dropOne(redis, [queue, deliveries, lineKeyOf(ref, member)], [member]);
            return delivery && { member, delivery };
          }),
      );
      return found.filter((due) => due !== null);
    },
    async record(ref, owner, { member, delivery }, health, nowMs) {
      const { deliveries, log, queue, ended, health: healthKey, drainer } = keysOf(ref);
      const next = delivery.nextAttemptAt === null ? '' : Date.parse(delivery.nextAttemptAt);
      const keys = [deliveries, log, queue, ended, healthKey, drainer, lineKeyOf(ref, member)];
      const bounds = [endedMax, nowMs - endedAgeMs];
      const facts = [encodeDelivery(delivery), member, next, JSON.stringify(health), nowMs];
      return (await recordOne(redis, keys, [owner, delivery.event.id, ...facts, ...bounds])) === 1;
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

function lineOf({ mailboxId }: EventRef): string {
  return `${LINE}${mailboxId ?? ''}`;
}
