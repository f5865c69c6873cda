/**
 * What a blob is, as its name says: the bytes of messages, or something that is kept beside them so that a lost Redis can be made anew.
 * Of a message that was deleted while the pack that holds it lives on, an empty blob is left, the name of which says all there is to say.
 */
import type { BlobMember } from './blob-members.ts';

export type BlobKind =
  | { kind: 'bytes' }
  /** The copy of a tenant's data key. */
  | { kind: 'dataKey'; id: string }
  /** That a message of the blob was deleted. */
  | { kind: 'gone'; blob: string };

const DATA_KEY = 'dkey_';
const GONE = /^gone_(blb_[a-z0-9]+)_/;

export function kindOf(id: string): BlobKind {
  if (id.startsWith(DATA_KEY)) return { kind: 'dataKey', id: id.slice(DATA_KEY.length) };
  const [, blob] = GONE.exec(id) ?? [];
  return blob === undefined ? { kind: 'bytes' } : { kind: 'gone', blob };
}

export function dataKeyBlob(keyId: string): string {
  return DATA_KEY + keyId;
}

/** One storing of a message: what is stored anew under its id is another. */
export function goneBlob(blob: string, { id, fetchedAt }: BlobMember): string {
  return `gone_${blob}_${Date.parse(fetchedAt).toString(36)}_${id}`;
}
