/** A message as popbridge holds it: a small record in Redis, and in the blob store its raw bytes and the parsed content. */
import type { Address, ParsedMessage } from '../mime/message.ts';
import type { PublicMessage } from '../mime/public-message.ts';
import type { Extent } from './extent.ts';

/** What a message is, beside mail of a person to a person. */
export type MessageKind =
  | 'auto_reply'
  | 'bulk'
  | 'list'
  | 'delivery_status'
  | 'feedback'
  | 'read_receipt'
  | 'calendar'
  | 'signed'
  | 'encrypted';

/** Times are ISO 8601. */
export interface MessageIdentityFields {
  id: string;
  mailboxId: string;
  /** The fetch that found it last. */
  fetchId: string;
  uidl: string | null;
  /** Of the raw message, in bytes; where it was omitted, as the server states it. */
  size: number;
  /** SHA-256 of the raw bytes, in hex; null where they were omitted. */
  digest: string | null;
  /** When it was stored first. */
  fetchedAt: string;
  /** When it is deleted here. */
  expiresAt: string;
  acknowledgedAt: string | null;
  /** The id of the message of this mailbox that has the same bytes, where there was one before. */
  duplicateOf: string | null;
  /** Why only the header section is here. */
  omitted: 'too_large' | null;
}

/** A message without its content: what lists show. */
export interface MessageSummary extends MessageIdentityFields {
  messageId: string;
  messageIdSynthesised: boolean;
  date: string | null;
  receivedAt: string | null;
  subject: string | null;
  /** The first ten of each. */
  from: readonly Address[];
  to: readonly Address[];
  cc: readonly Address[];
  threadKey: string;
  attachmentCount: number;
  kinds: readonly MessageKind[];
  parseStatus: ParsedMessage['parse']['status'];
  /** The beginning of the text. */
  snippet: string;
}

/** What a short notice has: all that can be said without opening the content. */
export interface MessageNotice {
  message: MessageSummary;
  /** Of the first ten. */
  attachmentIds: readonly string[];
}

/** What is kept in Redis. */
export interface MessageRecord extends MessageSummary {
  /** Of the first ten. */
  attachmentIds: readonly string[];
  /** Null where the raw bytes were omitted. */
  raw: Extent | null;
  content: Extent;
  /** Under which both are sealed: 32 bytes in base64. The record itself is sealed under the tenant's data key. */
  key: string;
  /** The blob whose manifest tells of it, where that is not the one of its content: it has the bytes of another message. */
  manifest?: string;
}

export type Message = MessageIdentityFields & PublicMessage;

/** Where its bytes are, and under which key, is nobody's business. */
export function toSummary(record: MessageRecord): MessageSummary {
  const { raw: _raw, content: _content, key: _key, manifest: _manifest, attachmentIds: _ids, ...summary } = record;
  return summary;
}

export function toNotice(record: MessageRecord): MessageNotice {
  return { message: toSummary(record), attachmentIds: record.attachmentIds };
}

/** The ids of the blobs that its bytes, or what tells of it, are in. */
export function blobsOf({ raw, content, manifest }: MessageRecord): Set<string> {
  return new Set([raw?.blob, content.blob, manifest].filter((blob) => blob !== undefined));
}

/** The blob whose manifest tells of it. */
export function manifestOf({ content, manifest }: MessageRecord): string {
  return manifest ?? content.blob;
}
