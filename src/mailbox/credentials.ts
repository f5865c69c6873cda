/** Sealed credentials of a fetch, under a TTL: written once, opened by the worker, deleted when the fetch ends. */
import type { Redis } from 'ioredis';
import { AppError } from '../errors.ts';
import { fetchKeys } from '../redis/keys.ts';
import type { Sealer } from './sealing.ts';

/** What a mailbox is logged in to with. */
export interface Credentials {
  type: 'password';
  password: string;
}

export interface Owner {
  tenant: string;
  /** The id of the fetch. */
  id: string;
}

export interface CredentialStore {
  put(owner: Owner, password: string): Promise<void>;
  /** @throws AppError `credentials_unavailable` when they have expired or cannot be opened. */
  open(owner: Owner): Promise<string>;
  delete(owner: Owner): Promise<void>;
}

export function createCredentialStore(redis: Redis, sealer: Sealer, ttlMs: number): CredentialStore {
  const keyOf = ({ tenant, id }: Owner): string => fetchKeys(tenant, id).credentials;
  const contextOf = ({ tenant, id }: Owner): string[] => [tenant, id, 'password'];
  return {
    async put(owner, password) {
      await redis.set(keyOf(owner), sealer.seal(password, contextOf(owner)), 'PX', ttlMs);
    },
    async open(owner) {
      const sealed = await redis.get(keyOf(owner));
      if (sealed === null) {
        throw new AppError(
          'credentials_unavailable',
          'The sealed credentials have expired before the fetch was through. Submit it again.',
        );
      }
      return sealer.open(sealed, contextOf(owner));
    },
    async delete(owner) {
      await redis.del(keyOf(owner));
    },
  };
}
