/**
 * Webhooks of fetches: a URL and a secret that a fetch was given, for the messages that it receives. What is sent to it is sent as to
 * any other webhook; it has its fetch's slot in Redis, is deleted with it, and expires once nothing was received for as long as its
 * messages are kept. All that can be seen of it is how its deliveries stand.
 */
import type { RedisClient } from '../redis/client.ts';
import { fetchOfWebhook, webhookOfFetch } from '../identity.ts';
import { webhookKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { openSealed, sealedField, type SealedValue, type ValueSealer } from '../redis/sealed-value.ts';
import { decodeDelivery, type Delivery } from './delivery-record.ts';
import { attemptTimeoutMs, fetchWebhookConcurrency } from './limits.ts';
import type { Disabled, Endpoint, Endpoints, WebhookRef } from './webhook.ts';

export interface FetchRef {
  tenant: string;
  id: string;
}

export interface FetchWebhook {
  url: string;
  /** `whsec_` and base64. */
  secret: string;
}

export interface DeliveryFailure {
  eventId: string;
  /** ISO 8601. */
  at: string;
  /** 0 where nothing was sent. */
  attempt: number;
  status: number | null;
  detail: string;
  nextAttemptAt: string | null;
}

export interface DeliverySummary {
  id: string;
  url: string;
  deliveries: { pending: number; delivered: number; failed: number };
  lastFailure: DeliveryFailure | null;
}

export interface FetchWebhooks extends Endpoints {
  /** @param lifeMs how long after the last message it is kept. */
  register(fetch: FetchRef, webhook: FetchWebhook, lifeMs: number): Promise<void>;
  summarise(fetch: FetchRef): Promise<DeliverySummary | null>;
  /** For the rotation of master keys. */
  listSealed(fetch: FetchRef): Promise<SealedValue[]>;
}

/** KEYS: webhook of the fetch. ARGV: since when and why. What is gone would be there again, and for ever. */
const disableOne = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  return redis.call('HSETNX', KEYS[1], 'disabled', ARGV[1])`);

export function createFetchWebhooks(redis: RedisClient, sealer: ValueSealer): FetchWebhooks {
  const keysOf = ({ tenant, id }: FetchRef) => webhookKeys(tenant, id);
  const fetchOf = ({ tenant, id }: WebhookRef): FetchRef => ({ tenant, id: fetchOfWebhook(id) ?? '' });
  const contextOf = ({ tenant, id }: FetchRef): string[] => [tenant, id, 'webhook-secret'];
  const toValue = (fetch: FetchRef, sealed: string): SealedValue =>
    sealedField(redis, [keysOf(fetch).ofFetch, 'secret'], sealed, contextOf(fetch));

  return {
    async register(fetch, { url, secret }, lifeMs) {
      const { ofFetch } = keysOf(fetch);
      const fields = { url, secret: sealer.seal(secret, contextOf(fetch)), life: lifeMs };
      await redis.multi().hset(ofFetch, fields).pexpire(ofFetch, lifeMs).exec();
    },
    async version(ref) {
      const [url, disabled] = await redis.hmget(keysOf(fetchOf(ref)).ofFetch, 'url', 'disabled');
      return url ? `${url} ${disabled}` : null;
    },
    async find(ref) {
      const [url, disabled] = await redis.hmget(keysOf(fetchOf(ref)).ofFetch, 'url', 'disabled');
      return url ? describe(ref, url, disabled ? (JSON.parse(disabled) as Disabled) : null) : null;
    },
    async openSecrets(ref) {
      const fetch = fetchOf(ref);
      const sealed = await redis.hget(keysOf(fetch).ofFetch, 'secret');
      if (sealed === null) return null;
      const secret = await openSealed(sealer, toValue(fetch, sealed));
      return { secrets: [{ secret, validUntil: null }], ed25519Keys: [], headers: {} };
    },
    // Only webhooks of tenants are counted by state: these come and go with their fetches.
    noteBreaker: async () => undefined,
    async disable(ref, disabled) {
      const { ofFetch } = keysOf(fetchOf(ref));
      await disableOne(redis, [ofFetch], [JSON.stringify(disabled)]);
    },
    async summarise(fetch) {
      const { ofFetch, queue, deliveries } = keysOf(fetch);
      const [fields, pending] = await Promise.all([redis.hgetall(ofFetch), redis.zcard(queue)]);
      const { url, d: delivered = 0, f: failed = 0, lastFailure, disabled } = fields;
      if (url === undefined) return null;
      const ref = { tenant: fetch.tenant, id: webhookOfFetch(fetch.id) };
      const [atMs = '', eventId = ''] = lastFailure?.split(' ') ?? [];
      const value = lastFailure === undefined ? null : await redis.hget(deliveries, eventId);
      return {
        id: ref.id,
        url,
        deliveries: { pending, delivered: Number(delivered), failed: Number(failed) },
        lastFailure:
          value === null
            ? null
            : describeFailure(decodeDelivery(ref, eventId, value), Number(atMs), disabled !== undefined),
      };
    },
    async listSealed(fetch) {
      const sealed = await redis.hget(keysOf(fetch).ofFetch, 'secret');
      return sealed === null ? [] : [toValue(fetch, sealed)];
    },
  };
}

function describe(ref: WebhookRef, url: string, disabled: Disabled | null): Endpoint {
  const settings = {
    url,
    events: ['message.received'],
    mailboxes: null,
    payload: 'texts',
    ratePerSecond: null,
    concurrency: fetchWebhookConcurrency,
    isOrdered: false,
    timeoutMs: attemptTimeoutMs,
    hasEd25519: false,
  } as const;
  return { ...ref, settings, disabled };
}

/** The last attempt that was not acknowledged; where none was made, why not. */
function describeFailure(
  { event, state, attempts, spent, nextAttemptAt }: Delivery,
  atMs: number,
  isGivenUp: boolean,
): DeliveryFailure {
  const last = attempts.findLastIndex(({ status }) => status === null || status < 200 || status > 299);
  const made = attempts[last];
  const why = isGivenUp
    ? 'Not sent: the endpoint has answered 410, or acknowledged nothing for too long.'
    : 'The message was deleted before it was delivered.';
  return {
    eventId: event.id,
    at: made?.at ?? new Date(atMs).toISOString(),
    // Of many, the last ones are on record.
    attempt: made ? Math.max(last + 1, spent - (attempts.length - 1 - last)) : 0,
    status: made?.status ?? null,
    detail: made?.detail ?? why,
    nextAttemptAt: state === 'pending' ? nextAttemptAt : null,
  };
}
