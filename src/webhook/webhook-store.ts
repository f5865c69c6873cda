/**
 * The webhooks of a tenant in Redis: all records in one hash, as every event is held against them, and what is secret in
 * another, sealed. Both are in one slot and change together, and with them a version, so that what was read is read again only where it
 * has changed.
 */
import { randomUUID } from 'node:crypto';
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { webhooksKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { createStateIndex } from '../redis/state-index.ts';
import { openSealed, sealedField, type SealedValue, type ValueSealer } from '../redis/sealed-value.ts';
import { changesMax, versionAgeMs, webhooksCachedMax, webhooksMax } from './limits.ts';
import type { Endpoints, Webhook, WebhookRef, WebhookSecrets } from './webhook.ts';

export interface WebhookStore extends Endpoints {
  /** @throws AppError `conflict` where the tenant has as many as can be. */
  create(webhook: Webhook, secrets: WebhookSecrets): Promise<void>;
  find(ref: WebhookRef): Promise<Webhook | null>;
  /** All of the tenant's, the oldest first. */
  list(tenant: string): Promise<readonly Webhook[]>;
  /** Of these the ones that do not leave out the mailbox: what each of its events is held against. @param mailboxId null for what has none. */
  listFor(tenant: string, mailboxId: string | null): Promise<readonly Webhook[]>;
  /**
   * Makes another webhook of the one that is there; `change` is asked again where it has changed meanwhile, and says null to leave it.
   * Null where there is none. @throws AppError `conflict` where others change it all the time, `credentials_unavailable`; what `change` throws.
   */
  change(ref: WebhookRef, change: WebhookChanger): Promise<Webhook | null>;
  /** False where there is none. */
  delete(ref: WebhookRef): Promise<boolean>;
  /** How many there are of these tenants: `ok`, with an open breaker, and disabled. It costs the same however many there are. */
  countStates(tenants: readonly string[]): Promise<Record<'ok' | 'open' | 'disabled', number>>;
  /** For the rotation of master keys. */
  listSealed(tenant: string): Promise<SealedValue[]>;
}

export type WebhookChanger = (
  webhook: Webhook,
  secrets: () => Promise<WebhookSecrets>,
) => Promise<{ webhook: Webhook; secrets: WebhookSecrets | null } | null>;

/** KEYS: records, secrets, version. ARGV: id, record, sealed, max, another version. */
const createOne = defineScript(`
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  redis.call('SET', KEYS[3], ARGV[5])
  return 1`);

/**
 * KEYS: records, secrets, version.
 * ARGV: id, record as it was, as it is to be; sealed as they were, as they are to be, or twice nothing; another version.
 */
const replaceOne = defineScript(`
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
  if ARGV[5] ~= '' then
    if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[4] then return 0 end
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[5])
  end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('SET', KEYS[3], ARGV[6])
  return 1`);

/** KEYS: records, secrets, version. ARGV: id, another version. */
const deleteOne = defineScript(`
  redis.call('HDEL', KEYS[2], ARGV[1])
  local gone = redis.call('HDEL', KEYS[1], ARGV[1])
  if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[3]) else redis.call('SET', KEYS[3], ARGV[2]) end
  return gone`);

/** KEYS: records, version. ARGV: version that is known. Nothing where it still is that; else version and records. */
const listChanged = defineScript(`
  local version = redis.call('GET', KEYS[2]) or ''
  if version ~= '' and version == ARGV[1] then return false end
  return { version, redis.call('HGETALL', KEYS[1]) }`);

export function createWebhookStore(redis: RedisClient, sealer: ValueSealer): WebhookStore {
  const contextOf = ({ tenant, id }: WebhookRef): string[] => [tenant, id, 'webhook-secrets'];
  const seal = (ref: WebhookRef, secrets: WebhookSecrets): string =>
    sealer.seal(JSON.stringify(secrets), contextOf(ref));
  const toValue = (ref: WebhookRef, sealed: string): SealedValue =>
    sealedField(redis, [webhooksKeys(ref.tenant).secrets, ref.id], sealed, contextOf(ref));

  /** As each tenant's were when they were last listed. */
  const listed = new Map<string, Listed & { version: string }>();
  let listedCount = 0;

  function remember(tenant: string, version: string, found: Listed): void {
    forget(tenant);
    if (version === '') return;
    listed.set(tenant, { ...found, version });
    listedCount += found.webhooks.length;
    for (const other of listed.keys()) {
      if (listedCount <= webhooksCachedMax && listed.size <= webhooksCachedMax) break;
      forget(other);
    }
  }

  function forget(tenant: string): void {
    listedCount -= listed.get(tenant)?.webhooks.length ?? 0;
    listed.delete(tenant);
  }

  async function listAll(tenant: string): Promise<Listed> {
    const { records, version } = webhooksKeys(tenant);
    const known = listed.get(tenant);
    const changed = await listChanged(redis, [records, version], [known?.version ?? '']);
    if (known && changed === null) return known;
    const [now, fields] = changed as [version: string, fields: string[]];
    const found = sortByMailbox(decodeAll(tenant, fields));
    remember(tenant, now, found);
    return found;
  }

  /** Asked for by each of a tenant's webhooks that is delivered to. */
  const versions = new Map<string, { version: Promise<string | null>; askedMs: number }>();

  const states = createStateIndex(redis, 'webhook', ['open', 'disabled']);

  const store: WebhookStore = {
    async create(webhook, secrets) {
      if (webhook.disabled) await states.note(memberOf(webhook), 'disabled');
      const { records, secrets: sealed, version } = webhooksKeys(webhook.tenant);
      const args = [webhook.id, encode(webhook), seal(webhook, secrets), webhooksMax, randomUUID()];
      if ((await createOne(redis, [records, sealed, version], args)) !== 1) {
        throw new AppError(
          'conflict',
          `There are ${webhooksMax} webhooks, which is as many as can be. Delete one first.`,
        );
      }
    },
    async version({ tenant }) {
      const nowMs = performance.now();
      const known = versions.get(tenant);
      if (known && nowMs - known.askedMs < versionAgeMs) return known.version;
      if (versions.size >= webhooksCachedMax) versions.clear();
      const version = redis.get(webhooksKeys(tenant).version);
      versions.set(tenant, { version, askedMs: nowMs });
      version.catch(() => versions.delete(tenant));
      return version;
    },
    async find(ref) {
      const record = await redis.hget(webhooksKeys(ref.tenant).records, ref.id);
      return record === null ? null : decode(ref, record);
    },
    list: async (tenant) => (await listAll(tenant)).webhooks,
    async listFor(tenant, mailboxId) {
      const { ofAny, ofMailbox } = await listAll(tenant);
      const own = mailboxId === null ? undefined : ofMailbox.get(mailboxId);
      return own ? [...ofAny, ...own] : ofAny;
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
        const isDisabled = changed.webhook.disabled !== null;
        // One that is enabled again has its breaker closed.
        if (isDisabled !== (known.disabled !== null)) await states.note(memberOf(ref), isDisabled ? 'disabled' : null);
        const resealed = changed.secrets === null ? '' : seal(ref, changed.secrets);
        const args = [ref.id, record, encode(changed.webhook), resealed === '' ? '' : sealed, resealed, randomUUID()];
        const isChanged = (await replaceOne(redis, [keys.records, keys.secrets, keys.version], args)) === 1;
        versions.delete(ref.tenant);
        if (isChanged) return changed.webhook;
      }
      throw new AppError('conflict', 'The webhook is being changed by somebody else at this moment. Try again.');
    },
    async disable(ref, disabled) {
      await store.change(ref, async (webhook) =>
        webhook.disabled === null ? { webhook: { ...webhook, disabled }, secrets: null } : null,
      );
    },
    async delete(ref) {
      await states.note(memberOf(ref), null);
      const { records, secrets, version } = webhooksKeys(ref.tenant);
      const isDeleted = (await deleteOne(redis, [records, secrets, version], [ref.id, randomUUID()])) === 1;
      versions.delete(ref.tenant);
      return isDeleted;
    },
    async openSecrets(ref) {
      const sealed = await redis.hget(webhooksKeys(ref.tenant).secrets, ref.id);
      return sealed === null ? null : (JSON.parse(await openSealed(sealer, toValue(ref, sealed))) as WebhookSecrets);
    },
    noteBreaker: (ref, isOpen) => states.note(memberOf(ref), isOpen ? 'open' : null, 'disabled'),
    async countStates(tenants) {
      const [known, ...sizes] = await Promise.all([
        states.count(),
        ...tenants.map((tenant) => redis.hlen(webhooksKeys(tenant).records)),
      ]);
      const all = sizes.reduce((sum, size) => sum + size, 0);
      return { ...known, ok: Math.max(0, all - known.open - known.disabled) };
    },
    async listSealed(tenant) {
      const all = await redis.hgetall(webhooksKeys(tenant).secrets);
      return Object.entries(all).map(([id, sealed]) => toValue({ tenant, id }, sealed));
    },
  };
  return store;
}

/** A tenant's webhooks. */
interface Listed {
  webhooks: readonly Webhook[];
  /** Those that want events whatever mailbox they are of, and those that name the mailbox. */
  ofAny: readonly Webhook[];
  ofMailbox: ReadonlyMap<string, readonly Webhook[]>;
}

function sortByMailbox(webhooks: readonly Webhook[]): Listed {
  const ofMailbox = new Map<string, Webhook[]>();
  for (const webhook of webhooks) {
    for (const mailbox of new Set(webhook.settings.mailboxes)) {
      const own = ofMailbox.get(mailbox);
      if (own) own.push(webhook);
      else ofMailbox.set(mailbox, [webhook]);
    }
  }
  return { webhooks, ofAny: webhooks.filter(({ settings }) => settings.mailboxes === null), ofMailbox };
}

function memberOf({ tenant, id }: WebhookRef): string {
  return `${tenant}/${id}`;
}

/** @param fields id, record, id, record, and so on. */
function decodeAll(tenant: string, fields: readonly string[]): Webhook[] {
  const webhooks: Webhook[] = [];
  for (let at = 0; at < fields.length; at += 2)
    webhooks.push(decode({ tenant, id: fields[at] ?? '' }, fields[at + 1] ?? ''));
  return webhooks.sort((one, other) => (one.id < other.id ? -1 : 1));
}

function encode({ tenant: _tenant, id: _id, ...fields }: Webhook): string {
  return JSON.stringify(fields);
}

function decode({ tenant, id }: WebhookRef, record: string): Webhook {
  return { tenant, id, ...(JSON.parse(record) as Omit<Webhook, keyof WebhookRef>) };
}
