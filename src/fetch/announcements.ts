/**
 * What a fetch tells of. It is kept by the time that a promise resolves, and may be told again, which changes nothing: so it is told
 * before the mark that keeps it from being told again.
 */
import { messageIdOfKey } from '../identity.ts';
import type { Mailbox } from '../mailbox/mailbox.ts';
import type { Book } from './book.ts';
import type { Fetch } from './fetch.ts';
import { messageIdOf, type DeletedEntry } from './ledger.ts';

export interface Announcements {
  received(fetch: Fetch, messages: readonly { id: string; storedMs: number }[]): Promise<void>;
  skipped(
    fetch: Fetch,
    messages: readonly { id: string; uidl: string; bytes: number | null }[],
    reason: 'filter_size' | 'filter_headers',
  ): Promise<void>;
  deletedUpstream(fetch: Fetch, messageIds: readonly string[]): Promise<void>;
  /** So many messages were stored before, under other unique-ids. */
  renumbered(fetch: Fetch, messages: number): Promise<void>;
  ended(fetch: Fetch): Promise<void>;
  changedState(mailbox: Mailbox, fetchId: string): Promise<void>;
}

/** Without a unique-id nothing tells a message from others that are left on the server, fetch after fetch. */
export function tellSkipped(
  announce: Announcements,
  fetch: Fetch,
  messages: readonly { key: string | null; uidl: string | null; bytes: number | null }[],
  reason: 'filter_size' | 'filter_headers',
): Promise<void> {
  const known = messages.flatMap(({ key, uidl, bytes }) =>
    key === null || uidl === null ? [] : [{ id: messageIdOfKey(fetch.mailboxId, key), uidl, bytes }],
  );
  return announce.skipped(fetch, known, reason);
}

/** Where it is not known whether they are gone, or nobody lived to tell it, that is told after the next listing. */
export async function tellDeleted(
  announce: Announcements,
  fetch: Fetch,
  book: Pick<Book, 'noteGone'>,
  gone: ReadonlyMap<string, DeletedEntry>,
): Promise<void> {
  const untold = [...gone].filter(([, { absent }]) => absent === null);
  await announce.deletedUpstream(
    fetch,
    untold.map(([key, entry]) => messageIdOf(fetch, key, entry)),
  );
  book.noteGone(untold.map(([key]) => key));
}
