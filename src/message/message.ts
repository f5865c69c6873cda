/** A message as popbridge holds it: a small record, the parsed content, and the raw bytes. */
import type { ParsedMessage } from '../mime/message.ts';

/** What is known of a message without reading its content. */
export interface MessageRecord {
  id: string;
  mailboxId: string;
  /** The fetch that stored it last. */
  fetchId: string;
  uidl: string | null;
  /** Of the raw message, in bytes. */
  size: number;
  /** SHA-256 of the raw bytes, in hex. */
  digest: string;
  /** ISO 8601. */
  fetchedAt: string;
}

export type Message = MessageRecord & ParsedMessage;
