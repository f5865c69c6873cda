/**
 * A mailbox as it lies in Redis, one string, as there may be a million: the fencing token of who fetched last in 16 digits, which
 * scripts compare; the length of what follows; settings and status as JSON, deflated with a dictionary of what all mailboxes share; and the
 * sealed credentials.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { AppError } from '../errors.ts';
import type { Mailbox, MailboxRef } from './mailbox.ts';

export const TOKEN_BYTES = 16;
const LENGTH_BYTES = 4;

/** Never to be changed: what was compressed with it needs it. A better one comes with another form. */
const DICTIONARY = Buffer.from(
  '"unique_ids_changed"needs_credentials"blocked"retrying"upstream_auth_failed"upstream_unreachable"upstream_timeout"login"connect' +
    '"acknowledged"{"afterDays":{"keepLast":new_only{"last":{"cron":" * * * *","timeZone":"Europe/Berlin"}"starttls"none"adaptive":{"everyMax":' +
    '@gmail.com@outlook.com.com.net.org.de"imap.mail.pop3.pop.gmail.com"' +
    '{"settings":{"name":null,"source":{"host":"pop.","port":995,"tls":"implicit","username":"@example.com","ca":null},"schedule":{"every":"5m"},' +
    '"isPaused":false,"firstFetch":"all","delete":"never","isDryRun":false,"limits":{"messages":10000,"bytes":1073741824,"seconds":600,' +
    '"messageBytes":52428800},"retentionMs":604800000},"status":{"state":"ok","since":"2026-01-01T00:00:00.000Z","failure":null,' +
    '"failures":0,"refusals":0,"lastFetch":{"id":"fch_","state":"succeeded","endedAt":"2026-01-01T00:00:00.000Z"},' +
    '"lastFetch":null,"lastSuccessAt":"2026-01-01T00:00:00.000Z","quietFetches":0,"warnings":[]},"createdAt":"2026-01-01T00:00:00.000Z",' +
    '"updatedAt":"2026-01-01T00:00:00.000Z"}',
);
/** As much memory as a mailbox and the dictionary need: to clear more takes longer than to deflate it. */
const DEFLATION = { dictionary: DICTIONARY, windowBits: 13, memLevel: 6, chunkSize: 2048 };

/** What follows the token. */
export function encodeMailbox({ settings, status, createdAt, updatedAt }: Mailbox, sealed: string): Buffer {
  const packed = deflateRawSync(JSON.stringify({ settings, status, createdAt, updatedAt }), DEFLATION);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(packed.length);
  return Buffer.concat([length, packed, Buffer.from(sealed)]);
}

/** @param bytes what follows the token. @throws AppError `storage_failed` where they are none of ours. */
export function decodeMailbox({ tenant, mailbox }: MailboxRef, bytes: Buffer): { mailbox: Mailbox; sealed: string } {
  try {
    const end = LENGTH_BYTES + bytes.readUInt32BE(0);
    const json = inflateRawSync(bytes.subarray(LENGTH_BYTES, end), { dictionary: DICTIONARY }).toString();
    const fields = JSON.parse(json) as Omit<Mailbox, keyof MailboxRef>;
    return { mailbox: { tenant, mailbox, ...fields }, sealed: bytes.toString('utf8', end) };
  } catch (error) {
    throw new AppError('storage_failed', 'The record of a mailbox is damaged. It is not fetched.', { cause: error });
  }
}

/** As scripts compare it. */
export function formatToken(token: number): string {
  return String(token).padStart(TOKEN_BYTES, '0');
}
