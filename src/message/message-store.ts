/**
 * Messages: the record in Redis, raw bytes and parsed content in the blob store. It stores and finds; it does not decide
 * when, and parses nothing.
 *
 * A message is stored content first, record last: a record never stands for bytes that are not there.
 */
import type { Redis } from 'ioredis';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { openAttachment, type OpenAttachment } from '../mime/attachment.ts';
import type { ParsedMessage } from '../mime/message.ts';
import { messageKey } from '../redis/keys.ts';
import type { BlobDraft, BlobStore, ByteRange } from './blob-store.ts';
import type { Message, MessageRecord } from './message.ts';

export interface MessageStore {
  /** @throws AppError `storage_failed` where the blob store cannot be written: better at the start than in every fetch. */
  checkStorage(): Promise<void>;
  /** Writes the raw bytes as they come; see `BlobStore.write`. */
  write(tenant: string, source: AsyncIterable<Uint8Array>): Promise<BlobDraft>;
  /** Gives the raw bytes their name and writes content and record. Idempotent. */
  store(tenant: string, record: MessageRecord, parsed: ParsedMessage, raw: BlobDraft): Promise<void>;
  /** Null where there is no such message, or no longer. */
  find(tenant: string, id: string): Promise<Message | null>;
  findRecord(tenant: string, id: string): Promise<MessageRecord | null>;
  /** Of these ids, those whose record and raw bytes are there. */
  findHeld(tenant: string, ids: readonly string[]): Promise<Set<string>>;
  openRaw(tenant: string, id: string, range?: ByteRange): Promise<Readable | null>;
  /** Streams an attachment out of the raw bytes; null where there is none of that id. */
  openAttachment(tenant: string, id: string, attachmentId: string): Promise<OpenAttachment | null>;
  delete(tenant: string, id: string): Promise<void>;
  /** Deletes the bytes of messages whose records have expired. Resolves with how many blobs that were. */
  sweep(nowMs: number): Promise<number>;
}

export function createMessageStore(redis: Redis, blobs: BlobStore, retentionMs: number): MessageStore {
  const findRecord = async (tenant: string, id: string): Promise<MessageRecord | null> => {
    const json = await redis.get(messageKey(tenant, id));
    return json === null ? null : (JSON.parse(json) as MessageRecord);
  };

  return {
    async checkStorage() {
      const draft = await blobs.write('default', chunk('{}'));
      await draft.discard();
    },
    write: (tenant, source) => blobs.write(tenant, source),
    async store(tenant, record, parsed, raw) {
      const { id } = record;
      await raw.keep({ id, kind: 'raw' });
      const content = await blobs.write(tenant, chunk(JSON.stringify(parsed)));
      await content.keep({ id, kind: 'content' });
      await redis.set(messageKey(tenant, id), JSON.stringify(record), 'PX', retentionMs);
    },
    async find(tenant, id) {
      const record = await findRecord(tenant, id);
      const content = record && (await blobs.open({ tenant, id, kind: 'content' }));
      return content && { ...record, ...(JSON.parse(await text(content)) as ParsedMessage) };
    },
    findRecord,
    async findHeld(tenant, ids) {
      const held = new Set<string>();
      for (const id of ids) {
        const isHeld = (await findRecord(tenant, id)) !== null && (await blobs.has({ tenant, id, kind: 'raw' }));
        if (isHeld) held.add(id);
      }
      return held;
    },
    openRaw: (tenant, id, range) => blobs.open({ tenant, id, kind: 'raw' }, range),
    async openAttachment(tenant, id, attachmentId) {
      const raw = await blobs.open({ tenant, id, kind: 'raw' });
      return raw && openAttachment(raw, attachmentId);
    },
    async delete(tenant, id) {
      await redis.del(messageKey(tenant, id));
      await blobs.delete({ tenant, id, kind: 'content' });
      await blobs.delete({ tenant, id, kind: 'raw' });
    },
    // A record is written after its blobs and expires by its own clock: a day's margin keeps the order.
    // And a record that was written under a longer retention still stands for its bytes.
    sweep: (nowMs) =>
      blobs.sweep(
        nowMs - retentionMs - 24 * 60 * 60 * 1000,
        async (tenant, id) => (await redis.exists(messageKey(tenant, id))) === 1,
      ),
  };
}

async function* chunk(json: string): AsyncGenerator<Buffer> {
  yield Buffer.from(json);
}
