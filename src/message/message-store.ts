/**
 * Messages: a sealed record of each in Redis, its raw bytes and parsed content sealed in the blob store. It stores, finds, lists and
 * deletes; it does not decide when, and parses nothing.
 */
import type { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import { toPublicMessage } from '../mime/public-message.ts';
import type { ParsedMessage } from '../mime/message.ts';
import type { RedisClient } from '../redis/client.ts';
import { auditKey, auditSinceKey } from '../redis/keys.ts';
import { findAttachment, type FoundAttachment } from './attachments.ts';
import { auditBlobs, type AuditResult } from './audit.ts';
import { createBlobMembers } from './blob-members.ts';
import type { ByteRange } from './blobs/blob-store.ts';
import { createDataKeys, type DataKeyPorts } from './data-keys.ts';
import { deleteMessage } from './deletion.ts';
import { openExtent, readExtent } from './extent.ts';
import { auditEveryMs, auditTakesMs, newRedisMs } from './limits.ts';
import { createMessageIndex, type Usage } from './message-index.ts';
import { listMessages, type MessageListPage, type MessageQuery } from './message-list.ts';
import { toNotice, type Message, type MessageNotice, type MessageRecord } from './message.ts';
import type { NewMessage } from './new-message.ts';
import { writeRaw, type RawDraft } from './raw-draft.ts';
import { createRecordCodec } from './record-codec.ts';
import type { Reconciliation } from './reconciler.ts';
import { createRecordStore, type ReadRecord } from './record-store.ts';
import type { StreamKind } from './sealed-pieces.ts';
import { storeMessages, type StoredOutcome } from './store-messages.ts';
import { recoverMessages, type RecoverOptions } from './recovery.ts';
import { sweepExpired, type SweepResult } from './sweep.ts';

export interface MessageStore {
  /** @throws AppError `storage_failed` where the blob store cannot be written: better at the start than in every fetch. */
  checkStorage(): Promise<void>;
  /** Takes in raw bytes as they come; see `writeRaw`. */
  write(tenant: string, source: AsyncIterable<Uint8Array>): Promise<RawDraft>;
  /** Stores several messages, which become durable and found together; see `storeMessages`. */
  store(tenant: string, messages: readonly NewMessage[]): Promise<StoredOutcome[]>;
  /** @throws AppError `quota_exceeded` where the tenant may have no more. */
  checkQuota(tenant: string, more?: Usage): Promise<void>;
  /** Null where there is no such message, or no longer. */
  find(tenant: string, id: string): Promise<Message | null>;
  findRecord(tenant: string, id: string): Promise<MessageRecord | null>;
  /** @throws AppError `invalid_request` for a cursor that is none. */
  list(tenant: string, query: MessageQuery): Promise<MessageListPage>;
  /** Of these ids, those whose record and raw bytes are there. */
  findHeld(tenant: string, ids: readonly string[]): Promise<Set<string>>;
  /** Null where there is none, or where the bytes were omitted. */
  openRaw(tenant: string, id: string, range?: ByteRange): Promise<Readable | null>;
  /** Null where there is none of that id. */
  findAttachment(tenant: string, id: string, attachmentId: string): Promise<FoundAttachment | null>;
  /** What a notice says of it; null where there is no such message, or no longer. */
  findNotice(tenant: string, id: string): Promise<MessageNotice | null>;
  /** Says that the owner has it. Resolves with when that was said first; null where there is no such message. */
  acknowledge(tenant: string, id: string): Promise<string | null>;
  /** The same where its mailbox is known. */
  acknowledgeOf(tenant: string, message: Pick<MessageRecord, 'id' | 'mailboxId'>): Promise<string | null>;
  /** Resolves with whether it was there. */
  remove(tenant: string, id: string): Promise<boolean>;
  /** Deletes the messages whose time is over. */
  sweep(signal?: AbortSignal): Promise<SweepResult>;
  /** Once a day: restores what Redis has lost, and deletes blobs that no message has. Null where it is not due. */
  audit(signal?: AbortSignal): Promise<AuditResult | null>;
  /** All at once what is to be done where Redis was lost; see `recoverMessages`. */
  recover(options: RecoverOptions): Promise<Reconciliation>;
}

export interface MessageStorePorts extends DataKeyPorts {
  redis: RedisClient;
  /** What a tenant may have; 0 is without bound. */
  quota: Usage;
  /** Told before a message is deleted by its owner, and once it is acknowledged, each time that is said. */
  onReleased?(message: Pick<MessageRecord, 'id' | 'mailboxId'> & { tenant: string }): Promise<void>;
}

const NEVER = new AbortController().signal;

export function createMessageStore(given: MessageStorePorts): MessageStore {
  const { redis, blobs, quota, clock } = given;
  const dataKeys = createDataKeys(given);
  const records = createRecordStore(redis, createRecordCodec(dataKeys));
  const index = createMessageIndex(redis);
  const ports = { blobs, records, index, members: createBlobMembers(redis), clock, checkQuota };
  const reconciled = { ...ports, dataKeys, ...(given.onReleased && { onReleased: given.onReleased }) };

  async function checkQuota(tenant: string, more: Usage = { messages: 1, bytes: 1 }): Promise<void> {
    if (quota.messages === 0 && quota.bytes === 0) return;
    const used = await index.usage(tenant);
    for (const what of ['messages', 'bytes'] as const) {
      if (quota[what] > 0 && more[what] > 0 && used[what] + more[what] > quota[what])
        throw quotaExceeded(what, used, quota);
    }
  }

  async function readOne(tenant: string, id: string): Promise<ReadRecord | null> {
    const read = await records.readAny(tenant, id);
    if (read === null || read === 'unreadable' || read.isTombstone) return null;
    return Date.parse(read.record.expiresAt) > clock.now() ? read : null;
  }

  const keyOf = (tenant: string, record: MessageRecord, kind: StreamKind) => ({
    key: Buffer.from(record.key, 'base64'),
    kind,
    tenant,
  });
  const openRawOf = (tenant: string, record: MessageRecord, range?: ByteRange) =>
    record.raw && openExtent(blobs, record.raw, keyOf(tenant, record, 'raw'), range);

  async function readContent(tenant: string, read: ReadRecord | null): Promise<ParsedMessage | null> {
    const content = read && (await readExtent(blobs, read.record.content, keyOf(tenant, read.record, 'content')));
    return content && (JSON.parse(content.toString()) as ParsedMessage);
  }

  async function acknowledgeOf(
    tenant: string,
    { id, mailboxId }: Pick<MessageRecord, 'id' | 'mailboxId'>,
  ): Promise<string | null> {
    const [atMs] = await Promise.all([
      records.acknowledge(tenant, id, clock.now()),
      given.onReleased?.({ tenant, id, mailboxId }),
    ]);
    return atMs === null ? null : new Date(atMs).toISOString();
  }

  return {
    checkStorage: () => blobs.check(),
    write: (tenant, source) => writeRaw(blobs, tenant, source),
    store: (tenant, messages) => storeMessages(ports, tenant, messages),
    checkQuota,
    async find(tenant, id) {
      const read = await readOne(tenant, id);
      const content = await readContent(tenant, read);
      return read && content && toMessage(read.record, content);
    },
    findRecord: async (tenant, id) => (await readOne(tenant, id))?.record ?? null,
    list: (tenant, query) => listMessages(ports, tenant, query),
    async findHeld(tenant, ids) {
      const present = new Map<string, Promise<boolean>>();
      const read = await Promise.all(ids.map((id) => readOne(tenant, id)));
      const held = await Promise.all(
        read.map(async (found) => {
          const blob = found?.record.raw?.blob;
          if (blob === undefined) return false;
          const isThere = present.get(blob) ?? blobs.has({ tenant, id: blob });
          present.set(blob, isThere);
          return isThere;
        }),
      );
      return new Set(ids.filter((_, at) => held[at]));
    },
    async openRaw(tenant, id, range) {
      const read = await readOne(tenant, id);
      return read && openRawOf(tenant, read.record, range);
    },
    async findAttachment(tenant, id, attachmentId) {
      const read = await readOne(tenant, id);
      const content = await readContent(tenant, read);
      return (
        read && content && findAttachment(content, attachmentId, async (part) => openRawOf(tenant, read.record, part))
      );
    },
    async findNotice(tenant, id) {
      const read = await readOne(tenant, id);
      return read && toNotice(read.record);
    },
    async acknowledge(tenant, id) {
      const read = await readOne(tenant, id);
      return read && acknowledgeOf(tenant, read.record);
    },
    acknowledgeOf,
    async remove(tenant, id) {
      for (;;) {
        const read = await readOne(tenant, id);
        if (!read) return false;
        await given.onReleased?.({ tenant, id, mailboxId: read.record.mailboxId });
        if (await deleteMessage(ports, tenant, read)) return true;
      }
    },
    sweep: (signal = NEVER) => sweepExpired(ports, signal),
    async audit(signal = NEVER) {
      const isMine = (await redis.set(auditKey, '', 'PX', auditTakesMs, 'NX')) !== null;
      if (!isMine) return null;
      const nowMs = clock.now();
      await redis.set(auditSinceKey, nowMs, 'NX');
      const isRedisNew = nowMs - Number(await redis.get(auditSinceKey)) < newRedisMs;
      const result = await auditBlobs(reconciled, isRedisNew, signal);
      if (signal.aborted) await redis.del(auditKey);
      else await redis.set(auditKey, '', 'PX', auditEveryMs);
      return result;
    },
    recover: (options) => recoverMessages(reconciled, options),
  };
}

function toMessage(record: MessageRecord, parsed: ParsedMessage): Message {
  const { id, mailboxId, fetchId, uidl, size, digest, fetchedAt, expiresAt } = record;
  const { acknowledgedAt, duplicateOf, omitted } = record;
  return {
    id,
    mailboxId,
    fetchId,
    uidl,
    size,
    digest,
    fetchedAt,
    expiresAt,
    acknowledgedAt,
    duplicateOf,
    omitted,
    ...toPublicMessage(parsed),
  };
}

function quotaExceeded(what: keyof Usage, used: Usage, quota: Usage): AppError {
  return new AppError(
    'quota_exceeded',
    `The tenant's quota of ${quota[what]} ${what} is used up (${used[what]} are stored). Delete messages, shorten the ` +
      `retention, or raise POPBRIDGE_QUOTA_${what.toUpperCase()}. Nothing was deleted upstream.`,
  );
}
