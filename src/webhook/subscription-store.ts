/**
 * The webhook of a fetch and the state of its deliveries. All keys share the fetch's slot, so that a delivery's state and
 * the counts change together.
 */
import type { RedisClient } from '../redis/client.ts';
import { fetchKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { openSealed, sealedField, type SealedValue, type ValueSealer } from '../redis/sealed-value.ts';
import { subscriptionTtlMs } from './limits.ts';

export interface FetchRef {
  tenant: string;
  id: string;
}

export interface Subscription {
  url: string;
  secret: string;
}

export interface DeliveryFailure {
  eventId: string;
  /** ISO 8601. */
  at: string;
  attempt: number;
  status: number | null;
  detail: string;
  nextAttemptAt: string | null;
}

export interface DeliverySummary {
  url: string;
  deliveries: { pending: number; delivered: number; failed: number };
  lastFailure: DeliveryFailure | null;
}

export type DeliveryState = 'pending' | 'delivered' | 'failed';

export interface SubscriptionStore {
  register(ref: FetchRef, subscription: Subscription): Promise<void>;
  /** @throws AppError `credentials_unavailable` when the secret cannot be opened. */
  find(ref: FetchRef): Promise<Subscription | null>;
  /** For the rotation of master keys. */
  listSealed(ref: FetchRef): Promise<SealedValue[]>;
  summarise(ref: FetchRef): Promise<DeliverySummary | null>;
  /** Makes the delivery pending unless it is known. The state it has now; null where the fetch has no webhook. */
  begin(ref: FetchRef, eventId: string): Promise<DeliveryState | null>;
  stateOf(ref: FetchRef, eventId: string): Promise<DeliveryState | null>;
  /** Ends a pending delivery. */
  settle(ref: FetchRef, eventId: string, state: 'delivered' | 'failed'): Promise<void>;
  noteFailure(ref: FetchRef, failure: DeliveryFailure): Promise<void>;
}

/** KEYS: webhook, deliveries. ARGV: event id, ttl. */
const beginDelivery = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 0 then return false end
  if redis.call('HSETNX', KEYS[2], ARGV[1], 'pending') == 1 then
    redis.call('HINCRBY', KEYS[1], 'pending', 1)
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
  end
  return redis.call('HGET', KEYS[2], ARGV[1])`);

/** KEYS: webhook, deliveries. ARGV: event id, state. */
const settleDelivery = defineScript(`
  if redis.call('HGET', KEYS[2], ARGV[1]) ~= 'pending' then return 0 end
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'pending', -1)
  redis.call('HINCRBY', KEYS[1], ARGV[2], 1)
  return 1`);

/** KEYS: webhook. ARGV: failure. What was deleted during an attempt stays deleted. */
const writeFailure = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  redis.call('HSET', KEYS[1], 'lastFailure', ARGV[1])
  return 1`);

export function createSubscriptionStore(redis: RedisClient, sealer: ValueSealer): SubscriptionStore {
  const keysOf = ({ tenant, id }: FetchRef) => fetchKeys(tenant, id);
  const contextOf = ({ tenant, id }: FetchRef): string[] => [tenant, id, 'webhook-secret'];
  const toValue = (ref: FetchRef, sealed: string): SealedValue =>
    sealedField(redis, [keysOf(ref).webhook, 'secret'], sealed, contextOf(ref));
  return {
    async listSealed(ref) {
      const sealed = await redis.hget(keysOf(ref).webhook, 'secret');
      return sealed === null ? [] : [toValue(ref, sealed)];
    },
    async register(ref, { url, secret }) {
      const { webhook } = keysOf(ref);
      const fields = { url, secret: sealer.seal(secret, contextOf(ref)) };
      await redis.multi().hset(webhook, fields).pexpire(webhook, subscriptionTtlMs).exec();
    },
    async find(ref) {
      const [url, sealed] = await redis.hmget(keysOf(ref).webhook, 'url', 'secret');
      return url && sealed ? { url, secret: await openSealed(sealer, toValue(ref, sealed)) } : null;
    },
    async summarise(ref) {
      const fields = await redis.hgetall(keysOf(ref).webhook);
      const { url, lastFailure } = fields;
      if (url === undefined) return null;
      const count = (name: string): number => Number(fields[name] ?? 0);
      return {
        url,
        deliveries: { pending: count('pending'), delivered: count('delivered'), failed: count('failed') },
        lastFailure: lastFailure === undefined ? null : (JSON.parse(lastFailure) as DeliveryFailure),
      };
    },
    async begin(ref, eventId) {
      const { webhook, deliveries } = keysOf(ref);
      return (await beginDelivery(redis, [webhook, deliveries], [eventId, subscriptionTtlMs])) as DeliveryState | null;
    },
    async stateOf(ref, eventId) {
      return (await redis.hget(keysOf(ref).deliveries, eventId)) as DeliveryState | null;
    },
    async settle(ref, eventId, state) {
      const { webhook, deliveries } = keysOf(ref);
      await settleDelivery(redis, [webhook, deliveries], [eventId, state]);
    },
    async noteFailure(ref, failure) {
      await writeFailure(redis, [keysOf(ref).webhook], [JSON.stringify(failure)]);
    },
  };
}
