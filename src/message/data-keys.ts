/**
 * Data keys: each tenant's mail is sealed under a key of its own, which is kept in Redis, wrapped under the master key, and as a small
 * blob, from which it is read where Redis has lost it. Without it the mail is noise: deleting the key deletes all mail of the
 * tenant, wherever copies of that are.
 */
import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { dataKeysKey } from '../redis/keys.ts';
import { openSealed, sealedField, type SealedValue, type ValueSealer } from '../redis/sealed-value.ts';
import { dataKeyBlob, kindOf } from './blob-kinds.ts';
import type { BlobStore } from './blobs/blob-store.ts';
import { dataKeyCacheMs, dataKeysCachedMax } from './limits.ts';

export interface DataKey {
  /** Eight hex digits. */
  id: string;
  /** 32 bytes. */
  key: KeyObject;
}

export interface DataKeys {
  /** The key to seal with; made where the tenant has none. */
  current(tenant: string): Promise<DataKey>;
  /** Null where it was deleted. @throws AppError `storage_failed` where its master key is gone. */
  find(tenant: string, id: string): Promise<DataKey | null>;
  /**
   * All mail of the tenant becomes unreadable; in other processes within `dataKeyCacheMs`. All blobs are looked through. Not to be done
   * while master keys are rotated, which would write the key's blob anew.
   */
  delete(tenant: string): Promise<void>;
  /** Redis does not have it. */
  isLost(tenant: string, id: string): Promise<boolean>;
  /** Puts what Redis has lost there again out of its blob, so that a rotation of master keys finds it. False where it is there. */
  restore(tenant: string, id: string): Promise<boolean>;
  /** Sees to it that each key in Redis has its blob, sealed alike: an older version, or a process that was killed, has written none. */
  keepCopies(tenant: string): Promise<void>;
}

export interface DataKeyPorts {
  redis: RedisClient;
  blobs: BlobStore;
  /** Wraps under the master key. */
  sealer: ValueSealer;
  clock: { now(): number };
}

export function createDataKeys({ redis, blobs, sealer, clock }: DataKeyPorts): DataKeys {
  const copies = createKeyCopies(blobs);
  const asked = new Map<string, Promise<DataKey>>();
  const cache = new Map<string, { known: DataKey; untilMs: number }>();

  async function find(tenant: string, id: string): Promise<DataKey | null> {
    const cached = cache.get(`${tenant}/${id}`);
    if (cached && cached.untilMs > clock.now()) return cached.known;
    const wrapped = await redis.hget(dataKeysKey(tenant), id);
    const key = wrapped === null ? await readCopy(tenant, id) : await unwrap(tenant, id, wrapped);
    if (key === null) return null;
    const known = { id, key: createSecretKey(key) };
    remember(`${tenant}/${id}`, known);
    return known;
  }

  const unwrap = (tenant: string, id: string, wrapped: string): Promise<Buffer> =>
    toKey(() => openSealed(sealer, toValue({ redis, copies }, tenant, id, wrapped)));

  /** It is not sealed anew: there is nothing in Redis to tell whether it was deleted meanwhile. */
  async function readCopy(tenant: string, id: string): Promise<Buffer | null> {
    const copy = await copies.read(tenant, id);
    return copy === null ? null : toKey(() => sealer.open(copy, contextOf(tenant, id)));
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
    // First: nothing is sealed under a key that a lost Redis would take with it.
    await copies.write(tenant, id, wrapped);
    await redis.hset(dataKeysKey(tenant), id, wrapped);
    // Of several processes that make one at the same moment, one wins; the others' keys have sealed nothing.
    const isMine = (await redis.hsetnx(dataKeysKey(tenant), 'current', id)) === 1;
    if (isMine) return id;
    await redis.hdel(dataKeysKey(tenant), id);
    await copies.delete(tenant, id);
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
      await copies.deleteAll(tenant);
      for (const name of cache.keys()) if (name.startsWith(`${tenant}/`)) cache.delete(name);
    },
    isLost: async (tenant, id) => (await redis.hexists(dataKeysKey(tenant), id)) === 0,
    async restore(tenant, id) {
      const wrapped = await copies.read(tenant, id);
      return wrapped !== null && (await redis.hsetnx(dataKeysKey(tenant), id, wrapped)) === 1;
    },
    async keepCopies(tenant) {
      for (const [id, wrapped] of await listWrapped(redis, tenant)) {
        if ((await copies.read(tenant, id)) !== wrapped) await copies.write(tenant, id, wrapped);
      }
    },
  };
}

/** For the rotation of master keys. */
export async function listSealedDataKeys(redis: RedisClient, blobs: BlobStore, tenant: string): Promise<SealedValue[]> {
  const places = { redis, copies: createKeyCopies(blobs) };
  return (await listWrapped(redis, tenant)).map(([id, wrapped]) => toValue(places, tenant, id, wrapped));
}

async function listWrapped(redis: RedisClient, tenant: string): Promise<[id: string, wrapped: string][]> {
  const { current: _current, ...wrapped } = await redis.hgetall(dataKeysKey(tenant));
  return Object.entries(wrapped);
}

/** @throws AppError `storage_failed`. */
async function toKey(open: () => string | Promise<string>): Promise<Buffer> {
  try {
    return Buffer.from(await open(), 'base64');
  } catch (error) {
    const advice = 'Are the master keys (POPBRIDGE_MASTER_KEYS, or its file) those that it was stored under?';
    throw new AppError('storage_failed', `The data key of this mail cannot be opened. ${advice}`, { cause: error });
  }
}

interface KeyPlaces {
  redis: RedisClient;
  copies: KeyCopies;
}

function toValue({ redis, copies }: KeyPlaces, tenant: string, id: string, wrapped: string): SealedValue {
  const value = sealedField(redis, [dataKeysKey(tenant), id], wrapped, contextOf(tenant, id));
  return {
    ...value,
    async replace(next) {
      const isReplaced = await value.replace(next);
      if (isReplaced) await copies.write(tenant, id, next);
      return isReplaced;
    },
  };
}

interface KeyCopies {
  read(tenant: string, id: string): Promise<string | null>;
  write(tenant: string, id: string, wrapped: string): Promise<void>;
  delete(tenant: string, id: string): Promise<void>;
  deleteAll(tenant: string): Promise<void>;
}

function createKeyCopies(blobs: BlobStore): KeyCopies {
  return {
    async read(tenant, id) {
      const copy = await blobs.open({ tenant, id: dataKeyBlob(id) });
      return copy && text(copy);
    },
    write: (tenant, id, wrapped) => blobs.write({ tenant, id: dataKeyBlob(id) }, [Buffer.from(wrapped)]),
    delete: (tenant, id) => blobs.delete({ tenant, id: dataKeyBlob(id) }),
    async deleteAll(tenant) {
      for await (const name of blobs.list(Number.MAX_SAFE_INTEGER)) {
        if (name.tenant === tenant && kindOf(name.id).kind === 'dataKey') await blobs.delete(name);
      }
    },
  };
}

function contextOf(tenant: string, id: string): string[] {
  return [tenant, 'data-key', id];
}
