/**
 * The webhooks of a tenant in Redis: all records in one hash, as every event is held against all of them, and what is secret in
 * another, sealed. Both are in one slot and change together.
 */
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { webhooksKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { openSealed, sealedField, type SealedValue, type ValueSealer } from '../redis/sealed-value.ts';
import { changesMax, webhooksMax } from './limits.ts';
import type { Webhook, WebhookRef, WebhookSecrets } from './webhook.ts';

export interface WebhookStore {
  /** @throws AppError `conflict` where the tenant has as many as can be. */
  create(webhook: Webhook, secrets: WebhookSecrets): Promise<void>;
  find(ref: WebhookRef): Promise<Webhook | null>;
  /** All of the tenant's, the oldest first. */
  list(tenant: string): Promise<Webhook[]>;
  /**
   * Makes another webhook of the one that is there; `change` is asked again where it has changed meanwhile, and says null to leave it.
   * Null where there is none. @throws AppError `conflict` where others change it all the time, `credentials_unavailable`; what `change` throws.
   */
  change(ref: WebhookRef, change: WebhookChanger): Promise<Webhook | null>;
  /** False where there is none. */
  delete(ref: WebhookRef): Promise<boolean>;
  /** Null where it is gone. @throws AppError `credentials_unavailable`. */
  openSecrets(ref: WebhookRef): Promise<WebhookSecrets | null>;
  /** For the rotation of master keys. */
  listSealed(tenant: string): Promise<SealedValue[]>;
}

export type WebhookChanger = (
  webhook: Webhook,
  secrets: () => Promise<WebhookSecrets>,
) => Promise<{ webhook: Webhook; secrets: WebhookSecrets | null } | null>;

/** KEYS: records, secrets. ARGV: id, record, sealed, max. */
const createOne = defineScript(`
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  return 1`);

/** KEYS: records, secrets. ARGV: id, record as it was, as it is to be; sealed as they were, as they are to be, or twice nothing. */
const replaceOne = defineScript(`
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
  if ARGV[5] ~= '' then
    if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[4] then return 0 end
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[5])
  end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  return 1`);

export function createWebhookStore(redis: RedisClient, sealer: ValueSealer): WebhookStore {
  const contextOf = ({ tenant, id }: WebhookRef): string[] => [tenant, id, 'webhook-secrets'];
  const seal = (ref: WebhookRef, secrets: WebhookSecrets): string =>
    sealer.seal(JSON.stringify(secrets), contextOf(ref));
  const toValue = (ref: WebhookRef, sealed: string): SealedValue =>
    sealedField(redis, [webhooksKeys(ref.tenant).secrets, ref.id], sealed, contextOf(ref));

  return {
    async create(webhook, secrets) {
      const { records, secrets: sealed } = webhooksKeys(webhook.tenant);
      const args = [webhook.id, encode(webhook), seal(webhook, secrets), webhooksMax];
      if ((await createOne(redis, [records, sealed], args)) !== 1) {
        throw new AppError(
          'conflict',
          `There are ${webhooksMax} webhooks, which is as many as can be. Delete one first.`,
        );
      }
    },
    async find(ref) {
      const record = await redis.hget(webhooksKeys(ref.tenant).records, ref.id);
      return record === null ? null : decode(ref, record);
    },
    async list(tenant) {
      const records = await redis.hgetall(webhooksKeys(tenant).records);
      const ids = Object.keys(records).sort();
      return ids.map((id) => decode({ tenant, id }, records[id] ?? ''));
    },
    async change(ref, change) {
      const keys = webhooksKeys(ref.tenant);
      for (let tries = 0; tries < changesMax; tries += 1) {
        const [record, sealed] = await Promise.all([
          redis.hget(keys.records, ref.id),
          redis.hget(keys.secrets, ref.id),
        ]);
        if (record === null || sealed === null) return null;
        const known = decode(ref, record);
        const open = async (): Promise<WebhookSecrets> =>
          JSON.parse(sealer.open(sealed, contextOf(ref))) as WebhookSecrets;
        const changed = await change(known, open);
        if (!changed) return known;
        const resealed = changed.secrets === null ? '' : seal(ref, changed.secrets);
        const args = [ref.id, record, encode(changed.webhook), resealed === '' ? '' : sealed, resealed];
        if ((await replaceOne(redis, [keys.records, keys.secrets], args)) === 1) return changed.webhook;
      }
      throw new AppError('conflict', 'The webhook is being changed by somebody else at this moment. Try again.');
    },
    async delete(ref) {
      const { records, secrets } = webhooksKeys(ref.tenant);
      const gone = await redis.multi().hdel(records, ref.id).hdel(secrets, ref.id).exec();
      return gone?.[0]?.[1] === 1;
    },
    async openSecrets(ref) {
      const sealed = await redis.hget(webhooksKeys(ref.tenant).secrets, ref.id);
      return sealed === null ? null : (JSON.parse(await openSealed(sealer, toValue(ref, sealed))) as WebhookSecrets);
    },
    async listSealed(tenant) {
      const all = await redis.hgetall(webhooksKeys(tenant).secrets);
      return Object.entries(all).map(([id, sealed]) => toValue({ tenant, id }, sealed));
    },
  };
}

function encode({ tenant: _tenant, id: _id, ...fields }: Webhook): string {
  return JSON.stringify(fields);
}

function decode({ tenant, id }: WebhookRef, record: string): Webhook {
  return { tenant, id, ...(JSON.parse(record) as Omit<Webhook, keyof WebhookRef>) };
}
