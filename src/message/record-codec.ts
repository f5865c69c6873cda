/**
 * Records as they lie in Redis: JSON, compressed with a dictionary of what all records share, and sealed under the tenant's data
 * key for this one message of this tenant (AES-256-GCM). It takes 350 to 500 bytes where the JSON alone takes more than a thousand.
 *
 * The first byte says what it is. Behind a record that was acknowledged is when, in clear: so that it takes no opening to say so. A
 * tombstone is a record that is being deleted, and says what is left to be done.
 */
import { randomBytes, type KeyObject } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { DataKey, DataKeys } from './data-keys.ts';
import type { MessageRecord } from './message.ts';
import { damaged, NONCE_BYTES, openBytes, sealBytes } from './sealed-bytes.ts';

export const LIVE = 1;
const DELETED = 2;
/** Added to either. */
export const ACKNOWLEDGED = 4;
/** Digits of a time in epoch milliseconds. */
const TIME_BYTES = 13;
const NOTHING = Buffer.alloc(0);
const KEY_ID_BYTES = 4;
const HEAD_BYTES = 1 + KEY_ID_BYTES;

/** Never to be changed: what was compressed with it needs it. A better one comes with another first byte. */
const DICTIONARY = Buffer.from(
  ' this is not for you that have been with from will your order please find attached Hello Hi Dear Thank you for the http://www.https://www.' +
    '"kinds":["auto_reply","bulk","list","delivery_status","feedback","read_receipt","calendar","signed","encrypted"]' +
    '"omitted":"too_large","parseStatus":"failed"},"parseStatus":"partial"},@outlook.com@gmail.com@example.com.org.net' +
    '{"mailboxId":"mbx_","fetchId":"fch_","uidl":null,"size":1,"digest":"","fetchedAt":"2026-01-01T00:00:00.000Z",' +
    '"expiresAt":"2026-01-01T00:00:00.000Z","acknowledgedAt":null,"duplicateOf":null,"omitted":null,"messageId":"<@mail.' +
    'gmail.com>","messageIdSynthesised":false,"date":"2026-01-01T00:00:00.000Z","receivedAt":"2026-01-01T00:00:00.000Z",' +
    '"subject":"Re: ","from":[{"name":"","address":"@","group":null}],"to":[{"name":null,"address":"@","group":null}],' +
    '"cc":[],"threadKey":"","attachmentCount":1,"kinds":[],"parseStatus":"ok","snippet":"","attachmentIds":["att_1","att_2"]"attachmentIds":[],"raw":{"blob":"blb_","offset":0,"length":' +
    '1,"size":1},"content":{"blob":"blb_","offset":1,"length":1,"size":1},"key":"',
);

/** As much memory as a record and the dictionary need: to clear more takes longer than to deflate it. */
const DEFLATION = { dictionary: DICTIONARY, windowBits: 13, memLevel: 6, chunkSize: 2048 };

/** A record takes about a thousand bytes. */
const INFLATION = { dictionary: DICTIONARY, windowBits: DEFLATION.windowBits, chunkSize: 4096 };

export interface RecordCodec {
  encode(tenant: string, record: MessageRecord): Promise<Buffer>;
  /** In the place of another, under its data key, as that is known; null where it was deleted. */
  encodeLike(tenant: string, record: MessageRecord, other: Buffer): Promise<Buffer | null>;
  /** A live record, or one behind a tombstone; null where its data key was deleted. @throws AppError `storage_failed`. */
  decode(tenant: string, id: string, sealed: Buffer): Promise<MessageRecord | null>;
}

export function createRecordCodec(keys: Pick<DataKeys, 'current' | 'find'>): RecordCodec {
  function seal({ id: keyId, key }: DataKey, tenant: string, { id, acknowledgedAt, ...fields }: MessageRecord): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const packed = deflateRawSync(JSON.stringify(fields), DEFLATION);
    const sealed = sealBytes({ key, nonce, context: contextOf(tenant, id) }, packed);
    const [kind, time] =
      acknowledgedAt === null
        ? [LIVE, NOTHING]
        : [LIVE + ACKNOWLEDGED, Buffer.from(timeOf(Date.parse(acknowledgedAt)))];
    return Buffer.concat([Uint8Array.of(kind), Buffer.from(keyId, 'hex'), nonce, sealed, time]);
  }

  return {
    encode: async (tenant, record) => seal(await keys.current(tenant), tenant, record),
    async encodeLike(tenant, record, other) {
      const known = await keys.find(tenant, keyIdOf(other));
      return known && seal(known, tenant, record);
    },
    async decode(tenant, id, sealed) {
      const known = await keys.find(tenant, keyIdOf(sealed));
      return known && open(known.key, tenant, id, sealed);
    },
  };
}

function open(key: KeyObject, tenant: string, id: string, sealed: Buffer): MessageRecord {
  const nonceEnd = HEAD_BYTES + NONCE_BYTES;
  const seal = { key, nonce: sealed.subarray(HEAD_BYTES, nonceEnd), context: contextOf(tenant, id) };
  const isAcknowledged = (kindOf(sealed) & ACKNOWLEDGED) !== 0;
  const end = isAcknowledged ? sealed.length - TIME_BYTES : sealed.length;
  const packed = openBytes(seal, sealed.subarray(nonceEnd, end));
  const acknowledgedAt = isAcknowledged ? new Date(Number(sealed.toString('latin1', end))).toISOString() : null;
  try {
    const json = inflateRawSync(packed, INFLATION).toString();
    const fields = JSON.parse(json) as Omit<MessageRecord, 'id' | 'acknowledgedAt'>;
    return { id, acknowledgedAt, ...fields };
  } catch (error) {
    throw damaged(error);
  }
}

function keyIdOf(sealed: Buffer): string {
  return sealed.toString('hex', 1, HEAD_BYTES);
}

function kindOf(sealed: Buffer): number {
  return sealed[0] ?? 0;
}

export function isTombstone(sealed: Buffer): boolean {
  return (kindOf(sealed) & DELETED) !== 0;
}

/** What stands in a record's place while the message is deleted. */
export function tombstoneOf(sealed: Buffer): Buffer {
  return Buffer.concat([Uint8Array.of(DELETED | (kindOf(sealed) & ACKNOWLEDGED)), sealed.subarray(1)]);
}

/** As it stands behind a record that was acknowledged then. @param ms since 1970. */
export function timeOf(ms: number): string {
  return String(ms).padStart(TIME_BYTES, '0');
}

function contextOf(tenant: string, id: string): Buffer {
  return Buffer.from(JSON.stringify([tenant, id]));
}
