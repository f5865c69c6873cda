/**
 * Data keys: each tenant's mail is sealed under a key of its own, which is kept in Redis, wrapped under the master key. Without
 * it the mail is noise: deleting the key deletes all mail of the tenant, wherever copies of it are.
 */
import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { AppError } from '../errors.ts';
import { dataKeysKey } from '../redis/keys.ts';
import { openSealed, sealedField, type SealedValue, type ValueSealer } from '../redis/sealed-value.ts';
import { dataKeyCacheMs, dataKeysCachedMax } from './limits.ts';

export interface DataKey {
  /** Eight hex digits. */
  id: string;
  /** 32 bytes. */
  key: Buffer;
}

export interface DataKeys {
  /** The key to seal with; made where the tenant has none. */
  current(tenant: string): Promise<DataKey>;
  /** Null where it was deleted. @throws AppError `storage_failed` where its master key is gone. */
  find(tenant: string, id: string): Promise<DataKey | null>;
  /** All mail of the tenant becomes unreadable; in other processes within `dataKeyCacheMs`. */
  delete(tenant: string): Promise<void>;
}

export interface DataKeyPorts {
  redis: Redis;
  /** Wraps under the master key. */
  sealer: ValueSealer;
  clock: { now(): number };
}

export function createDataKeys({ redis, sealer, clock }: DataKeyPorts): DataKeys {
  const asked = new Map<string, Promise<DataKey>>();
  const cache = new Map<string, { known: DataKey; untilMs: number }>();

  async function find(tenant: string, id: string): Promise<DataKey | null> {
    const cached = cache.get(`${tenant}/${id}`);
    if (cached && cached.untilMs > clock.now()) return cached.known;
    const wrapped = await redis.hget(dataKeysKey(tenant), id);
    if (wrapped === null) return null;
    const known = { id, key: await unwrap(tenant, id, wrapped) };
    remember(`${tenant}/${id}`, known);
    return known;
  }

  async function unwrap(tenant: string, id: string, wrapped: string): Promise<Buffer> {
    try {
      return Buffer.from(await openSealed(sealer, toValue(redis, tenant, id, wrapped)), 'base64');
    } catch (error) {
      const advice = 'Are the master keys (POPBRIDGE_MASTER_KEYS, or its file) those that it was stored under?';
      throw new AppError('storage_failed', `The data key of this mail cannot be opened. ${advice}`, { cause: error });
    }
  }

  function remember(name: string, known: DataKey): void {
    if (cache.size >= dataKeysCachedMax) cache.clear();
    cache.set(name, { known, untilMs: clock.now() + dataKeyCacheMs });
  }

  async function findCurrent(tenant: string): Promise<DataKey> {
    for (;;) {
      const id = (await redis.hget(dataKeysKey(tenant), 'current')) ?? (await make(tenant));
      const known = await find(tenant, id);
      if (known) return known;
    }
  }

  async function make(tenant: string): Promise<string> {
    const id = randomBytes(4).toString('hex');
    const wrapped = sealer.seal(randomBytes(32).toString('base64'), contextOf(tenant, id));
    await redis.hset(dataKeysKey(tenant), id, wrapped);
    // Of several processes that make one at the same moment, one wins; the others' keys have sealed nothing.
    const isMine = (await redis.hsetnx(dataKeysKey(tenant), 'current', id)) === 1;
    if (isMine) return id;
    await redis.hdel(dataKeysKey(tenant), id);
    return (await redis.hget(dataKeysKey(tenant), 'current')) ?? make(tenant);
  }

  return {
    async current(tenant) {
      // All records of a group ask at the same moment.
      const asking = asked.get(tenant) ?? findCurrent(tenant).finally(() => asked.delete(tenant));
      asked.set(tenant, asking);
      return asking;
    },
    find,
    async delete(tenant) {
      await redis.del(dataKeysKey(tenant));
      for (const name of cache.keys()) if (name.startsWith(`${tenant}/`)) cache.delete(name);
    },
  };
}

/** For the rotation of master keys. */
export async function listSealedDataKeys(redis: Redis, tenant: string): Promise<SealedValue[]> {
  const { current: _current, ...wrapped } = await redis.hgetall(dataKeysKey(tenant));
  return Object.entries(wrapped).map(([id, sealed]) => toValue(redis, tenant, id, sealed));
}

function toValue(redis: Redis, tenant: string, id: string, wrapped: string): SealedValue {
  return sealedField(redis, [dataKeysKey(tenant), id], wrapped, contextOf(tenant, id));
}

function contextOf(tenant: string, id: string): string[] {
  return [tenant, 'data-key', id];
}
