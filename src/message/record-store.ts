/**
 * Records in Redis, one key each. What is written over a record that was read is written only where it still is the one that
 * was read: a sweeper and a fetch may want the same message at the same moment.
 */
import type { RedisClient } from '../redis/client.ts';
import { messageKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { SealedRecord } from './manifest.ts';
import type { MessageRecord } from './message.ts';
import { ACKNOWLEDGED, isTombstone, LIVE, timeOf, tombstoneOf, type RecordCodec } from './record-codec.ts';

/** A record and the very bytes that it was read from. */
export interface ReadRecord {
  record: MessageRecord;
  sealed: Buffer;
  /** The message is being deleted. */
  isTombstone: boolean;
}

export interface RecordStore {
  /** In the order of the ids; null for none, and for one that is being deleted. Expired ones are there. */
  read(tenant: string, ids: readonly string[]): Promise<(ReadRecord | null)[]>;
  /** The same for one, tombstones included; `unreadable` where its data key was deleted. */
  readAny(tenant: string, id: string): Promise<ReadRecord | 'unreadable' | null>;
  /** A record as it lies in Redis, and in a manifest. */
  encode(tenant: string, record: MessageRecord): Promise<Buffer>;
  /** Null where its data key was deleted. @throws AppError `storage_failed`. */
  decode(tenant: string, sealed: SealedRecord): Promise<MessageRecord | null>;
  /** Whatever was there. */
  write(tenant: string, sealed: SealedRecord): Promise<void>;
  /** False where something else is there by now than the record that was read, or anything where none was. */
  put(tenant: string, read: ReadRecord | null, sealed: SealedRecord): Promise<boolean>;
  /** False where it is no longer the record that was read. */
  replace(tenant: string, read: ReadRecord, record: MessageRecord): Promise<boolean>;
  /** Says that its owner has it. When that was said first, in epoch milliseconds; null where there is none, or no longer. */
  acknowledge(tenant: string, id: string, nowMs: number): Promise<number | null>;
  /** Puts a tombstone in its place: the record, or the tombstone, that is to be deleted. Null where it is another by now. */
  bury(tenant: string, read: ReadRecord): Promise<ReadRecord | null>;
  /** Takes the tombstone away, where it still is that one. */
  erase(tenant: string, tombstone: ReadRecord): Promise<void>;
  /** Takes away whatever is there. */
  drop(tenant: string, id: string): Promise<void>;
}

/** ARGV: expected, new. An empty new value deletes. */
const swap = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
  return 1`);

/** ARGV: when, as it stands behind a record. When that was said first, likewise; nothing where there is no live record. */
const acknowledgeOne = defineScript(`
  local kind = redis.call('GETRANGE', KEYS[1], 0, 0):byte()
  if kind == ${LIVE + ACKNOWLEDGED} then return redis.call('GETRANGE', KEYS[1], -#ARGV[1], -1) end
  if kind ~= ${LIVE} then return false end
  local record = redis.call('GET', KEYS[1])
  redis.call('SET', KEYS[1], string.char(${LIVE + ACKNOWLEDGED}) .. record:sub(2) .. ARGV[1])
  return ARGV[1]`);

export function createRecordStore(redis: RedisClient, codec: RecordCodec): RecordStore {
  const swapped = async (tenant: string, read: ReadRecord, value: Buffer | string): Promise<boolean> =>
    (await swap(redis, [messageKey(tenant, read.record.id)], [read.sealed, value])) === 1;

  return {
    read: async (tenant, ids) =>
      Promise.all(
        ids.map(async (id) => {
          const sealed = await redis.getBuffer(messageKey(tenant, id));
          if (sealed === null || isTombstone(sealed)) return null;
          const record = await codec.decode(tenant, id, sealed);
          return record && { record, sealed, isTombstone: false };
        }),
      ),
    async readAny(tenant, id) {
      const sealed = await redis.getBuffer(messageKey(tenant, id));
      if (sealed === null) return null;
      const record = await codec.decode(tenant, id, sealed);
      return record ? { record, sealed, isTombstone: isTombstone(sealed) } : 'unreadable';
    },
    encode: (tenant, record) => codec.encode(tenant, record),
    decode: (tenant, { id, sealed }) => codec.decode(tenant, id, sealed),
    async write(tenant, { id, sealed }) {
      await redis.set(messageKey(tenant, id), sealed);
    },
    put: async (tenant, read, { id, sealed }) =>
      read ? swapped(tenant, read, sealed) : (await redis.set(messageKey(tenant, id), sealed, 'NX')) === 'OK',
    async replace(tenant, read, record) {
      const sealed = await codec.encodeLike(tenant, record, read.sealed);
      return sealed !== null && swapped(tenant, read, sealed);
    },
    async acknowledge(tenant, id, nowMs) {
      const at = await acknowledgeOne(redis, [messageKey(tenant, id)], [timeOf(nowMs)]);
      return at === null ? null : Number(at);
    },
    async bury(tenant, read) {
      const tombstone = tombstoneOf(read.sealed);
      return (await swapped(tenant, read, tombstone))
        ? { record: read.record, sealed: tombstone, isTombstone: true }
        : null;
    },
    async erase(tenant, tombstone) {
      await swapped(tenant, tombstone, '');
    },
    async drop(tenant, id) {
      await redis.del(messageKey(tenant, id));
    },
  };
}
