/**
 * Every id, and what it is derived from (design: Identity). Ids of mail and events are never random: fetching the same
 * mail again gives the same ids. Imports nothing of ours.
 */
import { createHash } from 'node:crypto';
import { domainToASCII } from 'node:url';

/** Crockford's base 32 in lower case: no i, l, o, u. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const DERIVED_CHARS = 32;
const ULID_CHARS = 26;
/** Three letters and a line. */
const ID_PREFIX_CHARS = 4;
/** Of the five bits of a character. */
const HIGHEST_BIT = 16;
const POP3_PORTS = new Set([110, 995]);

/**
 * A maildrop as the outside names it. 110 and 995 are one service; another port of the same host may be another server.
 * @param alias tells mailboxes on one maildrop apart.
 */
export function mailboxId(
  tenant: string,
  source: { host: string; port: number; username: string },
  alias?: string,
): string {
  const host = canonicalHost(source.host);
  const parts = [tenant, host, POP3_PORTS.has(source.port) ? 'pop3' : String(source.port), source.username];
  return derive('mbx', ...parts, ...(alias === undefined ? [] : [alias]));
}

/** A host in the one spelling that everything that is kept by host goes by: lower case, ASCII, no brackets, no final dot. */
export function canonicalHost(host: string): string {
  const written = host.replace(/^\[|\]$/g, '').replace(/\.$/, '');
  // An internationalised name is one host in either spelling; an IPv6 address is none to this function.
  return domainToASCII(written) || written.toLowerCase();
}

/** What tells one message of a mailbox from the others. */
export type MessageIdentity =
  | {
      uidl: string;
      occurrence: number;
      /** Only where another mail has had this unique-id before. */
      digest?: string;
    }
  /** Where the server gives no unique-id: SHA-256 of the raw bytes, in hex. */
  | { digest: string; occurrence: number };

/** `occurrence` counts equal unique-ids (or digests) within one listing, from 0: servers do repeat them. */
export function messageId(mailbox: string, identity: MessageIdentity): string {
  return messageIdOfKey(mailbox, messageKey(identity));
}

/** @param key of `messageKey`. */
export function messageIdOfKey(mailbox: string, key: string): string {
  return derive('msg', mailbox, key);
}

/** The identity as text: the field of the ledger. */
export function messageKey(identity: MessageIdentity): string {
  if (!('uidl' in identity)) return `digest:${identity.occurrence}:${identity.digest}`;
  const { uidl, occurrence, digest } = identity;
  return digest === undefined ? `uidl:${occurrence}:${uidl}` : `uidl+digest:${occurrence}:${digest}:${uidl}`;
}

/** @param subject the id of what it is about, and what else tells this time from others. */
export function eventId(type: string, ...subject: string[]): string {
  return derive('evt', type, ...subject);
}

export function fetchId(nowMs: number, random: (bytes: number) => Buffer): string {
  return `fch_${ulid(nowMs, random)}`;
}

export function webhookId(nowMs: number, random: (bytes: number) => Buffer): string {
  return `whk_${ulid(nowMs, random)}`;
}

/**
 * The webhook of a fetch, which has no id of its own. A ULID is 128 bits in 26 characters of 5: the highest bit of its first character
 * is never set, and is here.
 */
export function webhookOfFetch(fetch: string): string {
  return `whk_${withHighestBit(fetch, true)}`;
}

/** What `webhookOfFetch` was made of; null for a webhook that is none of a fetch. */
export function fetchOfWebhook(webhook: string): string | null {
  const isOfFetch = ALPHABET.indexOf(webhook.charAt(ID_PREFIX_CHARS)) >= HIGHEST_BIT;
  return isOfFetch ? `fch_${withHighestBit(webhook, false)}` : null;
}

function withHighestBit(id: string, isSet: boolean): string {
  const first = ALPHABET.indexOf(id.charAt(ID_PREFIX_CHARS)) % HIGHEST_BIT;
  return `${ALPHABET.charAt(isSet ? first + HIGHEST_BIT : first)}${id.slice(ID_PREFIX_CHARS + 1)}`;
}

/** Says of which webhook and event it is, so that nothing has to be looked up by it. */
export function deliveryId(webhook: string, event: string): string {
  return `dlv_${webhook.slice(ID_PREFIX_CHARS)}${event.slice(ID_PREFIX_CHARS)}`;
}

/** What `deliveryId` was made of. */
export function readDeliveryId(id: string): { webhookId: string; eventId: string } {
  const both = id.slice(ID_PREFIX_CHARS);
  return { webhookId: `whk_${both.slice(0, ULID_CHARS)}`, eventId: `evt_${both.slice(ULID_CHARS)}` };
}

/** Sorts by time: 48 bits of milliseconds, 80 random bits. */
function ulid(nowMs: number, random: (bytes: number) => Buffer): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(nowMs, 0, 6);
  random(10).copy(bytes, 6);
  return base32(bytes, ULID_CHARS);
}

/** Never used before: a blob is written once. It spreads evenly by its first characters. */
export function blobId(random: (bytes: number) => Buffer): string {
  return `blb_${base32(random(15), 24)}`;
}

/** Each part is framed by its length, so that no two lists of parts give the same text. */
function derive(prefix: string, ...parts: string[]): string {
  const hash = createHash('sha256').update(prefix);
  for (const part of parts) hash.update(`\n${Buffer.byteLength(part)}:`).update(part);
  return `${prefix}_${base32(hash.digest(), DERIVED_CHARS)}`;
}

function base32(bytes: Buffer, chars: number): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  value = value << BigInt(Math.max(0, chars * 5 - bytes.length * 8));
  value = value >> BigInt(Math.max(0, bytes.length * 8 - chars * 5));
  let text = '';
  for (let i = 0; i < chars; i += 1) {
    text = ALPHABET.charAt(Number(value & 31n)) + text;
    value >>= 5n;
  }
  return text;
}
