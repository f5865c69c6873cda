/** A pack: the sealed bytes of several messages in the order in which they will lie in one blob, and the records of these, its manifest. */
import { randomBytes } from 'node:crypto';
import { blobId } from '../identity.ts';
import type { Extent } from './extent.ts';
import { blobsOf, type MessageIdentityFields, type MessageRecord } from './message.ts';
import { digestOf, hasBytes, type NewMessage } from './new-message.ts';
import { sealSmall } from './sealed-pieces.ts';
import { summarise } from './summary.ts';

/** What the pack does not find out by itself. */
export type PackFacts = Pick<
  MessageIdentityFields,
  'id' | 'mailboxId' | 'fetchId' | 'uidl' | 'fetchedAt' | 'expiresAt' | 'acknowledgedAt'
>;

export interface Pack {
  /** The id of the blob that it becomes. */
  readonly blob: string;
  readonly pieces: readonly Buffer[];
  /** The records to be written once the pack is. */
  readonly made: readonly MessageRecord[];
  /** Records that these take the place of. */
  readonly overwritten: MessageRecord[];
  add(message: NewMessage, facts: PackFacts): void;
  /** A message with the bytes of another, of which there is nothing to be packed. */
  addCopy(message: NewMessage, facts: PackFacts, original: MessageRecord): void;
  /** The first message of the pack with the same bytes, of the same mailbox. */
  find(message: NewMessage): MessageRecord | null;
  /** The messages of each blob, shared bytes included. */
  membersOfBlobs(): Map<string, MessageRecord[]>;
}

export function createPack(tenant: string): Pack {
  const blob = blobId(randomBytes);
  const pieces: Buffer[] = [];
  const made: MessageRecord[] = [];
  let bytes = 0;

  function append(sealed: readonly Buffer[], size: number): Extent {
    const length = sealed.reduce((sum, piece) => sum + piece.length, 0);
    const extent = { blob, offset: bytes, length, size };
    pieces.push(...sealed);
    bytes += length;
    return extent;
  }

  function appendRaw({ place, bytes: size }: Extract<NewMessage['raw'], { sha256: string }>): Extent {
    if ('pieces' in place) return append(place.pieces, size);
    return { blob: place.blob, offset: 0, length: place.length, size };
  }

  return {
    blob,
    pieces,
    made,
    overwritten: [],
    add(message, facts) {
      const { raw, parsed } = message;
      const key = hasBytes(raw) ? raw.key : randomBytes(32);
      const json = Buffer.from(JSON.stringify(parsed));
      made.push({
        ...describe(message, facts, null),
        raw: hasBytes(raw) ? appendRaw(raw) : null,
        content: append(sealSmall(json, { key, kind: 'content', tenant }), json.length),
        key: key.toString('base64'),
      });
    },
    addCopy(message, facts, original) {
      const { raw, content, key } = original;
      const described = describe(message, facts, original.duplicateOf ?? original.id);
      made.push({ ...described, raw, content, key, ...(content.blob !== blob && { manifest: blob }) });
    },
    find(message) {
      const digest = digestOf(message);
      return (
        made.find((record) => digest !== null && record.digest === digest && record.mailboxId === message.mailboxId) ??
        null
      );
    },
    membersOfBlobs() {
      const members = new Map<string, MessageRecord[]>();
      for (const record of made) {
        for (const name of blobsOf(record)) members.set(name, [...(members.get(name) ?? []), record]);
      }
      return members;
    },
  };
}

function describe(message: NewMessage, facts: PackFacts, duplicateOf: string | null) {
  const { raw, parsed } = message;
  return {
    ...facts,
    size: raw.bytes,
    digest: digestOf(message),
    duplicateOf,
    omitted: hasBytes(raw) ? null : raw.omitted,
    ...summarise(parsed),
  };
}
