/** A message as a fetch hands it over to be stored. */
import type { MessageIdentity } from '../identity.ts';
import type { ParsedMessage } from '../mime/message.ts';
import type { RawDraft } from './raw-draft.ts';

export interface NewMessage {
  identity: MessageIdentity;
  mailboxId: string;
  fetchId: string;
  uidl: string | null;
  /** When it came, in epoch milliseconds. */
  fetchedMs: number;
  /** Milliseconds that it is kept. */
  retentionMs: number;
  parsed: ParsedMessage;
  raw: RawDraft | OmittedRaw;
}

/** Only the header section was taken; `bytes` is what the server says of the whole. */
export interface OmittedRaw {
  omitted: 'too_large';
  bytes: number;
}

export function hasBytes(raw: RawDraft | OmittedRaw): raw is RawDraft {
  return !('omitted' in raw);
}

/** SHA-256 in hex; null where the bytes were omitted. */
export function digestOf({ raw }: NewMessage): string | null {
  return hasBytes(raw) ? raw.sha256 : null;
}
