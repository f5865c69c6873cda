/** Which messages have their bytes in which blob. A blob is deleted with the last of them, and not before. */
import type { Redis } from 'ioredis';
import { blobMembersKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';

export interface BlobMembers {
  add(tenant: string, blob: string, ids: readonly string[]): Promise<void>;
  /** Adds a message whose bytes are another's. False where that one is there no longer: the blob may be gone. */
  join(tenant: string, blob: string, id: string, other: string): Promise<boolean>;
  /** Resolves with whether nobody is left. */
  leave(tenant: string, blob: string, id: string): Promise<boolean>;
  list(tenant: string, blob: string): Promise<string[]>;
}

/** ARGV: id, other. */
const joinMember = defineScript(`
  if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], '')
  return 1`);

/** ARGV: id. */
const leaveMember = defineScript(`
  redis.call('HDEL', KEYS[1], ARGV[1])
  return redis.call('EXISTS', KEYS[1])`);

export function createBlobMembers(redis: Redis): BlobMembers {
  return {
    async add(tenant, blob, ids) {
      await redis.hset(blobMembersKey(tenant, blob), Object.fromEntries(ids.map((id) => [id, ''])));
    },
    join: async (tenant, blob, id, other) =>
      (await joinMember(redis, [blobMembersKey(tenant, blob)], [id, other])) === 1,
    leave: async (tenant, blob, id) => (await leaveMember(redis, [blobMembersKey(tenant, blob)], [id])) === 0,
    list: async (tenant, blob) => redis.hkeys(blobMembersKey(tenant, blob)),
  };
}
