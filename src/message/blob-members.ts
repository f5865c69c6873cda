/**
 * Which messages have their bytes in which blob. A blob is deleted with the last of them, and not before.
 *
 * A member is one storing of a message: what is stored anew under its id while the one before is deleted keeps its own place, even
 * where both have their bytes in one blob.
 */
import type { RedisClient } from '../redis/client.ts';
import { blobMembersKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { MessageIdentityFields } from './message.ts';

export type BlobMember = Pick<MessageIdentityFields, 'id' | 'fetchedAt'>;

export interface BlobMembers {
  add(tenant: string, blob: string, members: readonly BlobMember[]): Promise<void>;
  /** Adds a message whose bytes are another's. False where that one is there no longer: the blob may be gone. */
  join(tenant: string, blob: string, member: BlobMember, other: BlobMember): Promise<boolean>;
  /** Resolves with whether nobody is left. */
  leave(tenant: string, blob: string, member: BlobMember): Promise<boolean>;
  list(tenant: string, blob: string): Promise<BlobMember[]>;
}

/** ARGV: member, other. */
const joinMember = defineScript(`
  if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], '')
  return 1`);

/** ARGV: member. */
const leaveMember = defineScript(`
  redis.call('HDEL', KEYS[1], ARGV[1])
  return redis.call('EXISTS', KEYS[1])`);

export function createBlobMembers(redis: RedisClient): BlobMembers {
  return {
    async add(tenant, blob, members) {
      await redis.hset(
        blobMembersKey(tenant, blob),
        Object.fromEntries(members.map((member) => [fieldOf(member), ''])),
      );
    },
    join: async (tenant, blob, member, other) =>
      (await joinMember(redis, [blobMembersKey(tenant, blob)], [fieldOf(member), fieldOf(other)])) === 1,
    leave: async (tenant, blob, member) =>
      (await leaveMember(redis, [blobMembersKey(tenant, blob)], [fieldOf(member)])) === 0,
    list: async (tenant, blob) => (await redis.hkeys(blobMembersKey(tenant, blob))).map(readField),
  };
}

function fieldOf({ id, fetchedAt }: BlobMember): string {
  return `${id}/${Date.parse(fetchedAt).toString(36)}`;
}

function readField(field: string): BlobMember {
  const [id = '', time = '0'] = field.split('/');
  return { id, fetchedAt: new Date(Number.parseInt(time, 36)).toISOString() };
}
