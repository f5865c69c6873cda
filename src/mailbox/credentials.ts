/** Sealed credentials of a fetch, under a TTL: written once, opened by the worker, deleted when the fetch ends. */
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { fetchKeys, tokenKeys } from '../redis/keys.ts';
import { openSealed, sealedString, type SealedValue } from '../redis/sealed-value.ts';
import type { OAuth2Credentials } from './oauth2/grant.ts';
import type { Sealer } from './sealing.ts';

/** What a mailbox is logged in to with. */
export type Credentials = { type: 'password'; password: string } | OAuth2Credentials;

export interface Owner {
  tenant: string;
  /** The id of the fetch. */
  id: string;
}

export interface CredentialStore {
  put(owner: Owner, credentials: Credentials): Promise<void>;
  /** @throws AppError `credentials_unavailable` when they have expired or cannot be opened. */
  open(owner: Owner): Promise<Credentials>;
  /** Keeps the TTL. False where they are not `was` any more. */
  replace(owner: Owner, was: Credentials, now: Credentials): Promise<boolean>;
  /** With the access token that came of them. */
  delete(owner: Owner): Promise<void>;
  /** For the rotation of master keys. None where they have expired or were deleted. */
  listSealed(owner: Owner): Promise<SealedValue[]>;
}

export function createCredentialStore(redis: RedisClient, sealer: Sealer, ttlMs: number): CredentialStore {
  const keyOf = ({ tenant, id }: Owner): string => fetchKeys(tenant, id).credentials;
  const contextOf = ({ tenant, id }: Owner): string[] => [tenant, id, 'credentials'];
  const seal = (owner: Owner, credentials: Credentials): string =>
    sealer.seal(JSON.stringify(credentials), contextOf(owner));
  async function find(owner: Owner): Promise<SealedValue | null> {
    const sealed = await redis.get(keyOf(owner));
    return sealed === null ? null : sealedString(redis, keyOf(owner), sealed, contextOf(owner));
  }

  return {
    async listSealed(owner) {
      const value = await find(owner);
      return value ? [value] : [];
    },
    async put(owner, credentials) {
      await redis.set(keyOf(owner), seal(owner, credentials), 'PX', ttlMs);
    },
    async open(owner) {
      const value = await find(owner);
      if (!value) {
        throw new AppError(
          'credentials_unavailable',
          'The sealed credentials have expired before the fetch was through. Submit it again.',
        );
      }
      return JSON.parse(await openSealed(sealer, value)) as Credentials;
    },
    async replace(owner, was, now) {
      for (;;) {
        const value = await find(owner);
        if (!value || sealer.open(value.sealed, value.context) !== JSON.stringify(was)) return false;
        // The same may have been sealed anew meanwhile.
        if (await value.replace(seal(owner, now))) return true;
      }
    },
    async delete(owner) {
      await redis.del(keyOf(owner), ...Object.values(tokenKeys(owner.tenant, owner.id)));
    },
  };
}
