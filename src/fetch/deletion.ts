/** Which of the messages that are stored and still in the maildrop its policy lets go. Pure. */
import type { Fetch } from './fetch.ts';
import { messageIdOf, type DeletedEntry } from './ledger.ts';
import type { DeletePolicy } from '../mailbox/policies.ts';
import type { StoredMessage } from './plan.ts';

const DAY_SECONDS = 24 * 3600;

/** @param stored in the order of the maildrop, oldest first as servers list it. */
export function chooseDeletions(
  policy: DeletePolicy,
  stored: readonly StoredMessage[],
  nowSeconds: number,
): readonly StoredMessage[] {
  if (policy === 'never') return [];
  if (policy === 'stored') return stored;
  if (policy === 'acknowledged') return stored.filter(({ entry }) => entry.isReleased);
  if ('afterDays' in policy) {
    return stored.filter(({ entry }) => nowSeconds - entry.at >= policy.afterDays * DAY_SECONDS);
  }
  const inOrder = stored.toSorted((a, b) => a.number - b.number);
  return inOrder.slice(0, Math.max(0, inOrder.length - policy.keepLast));
}

/**
 * What the policy lets go, and popbridge has: whole and at hand; or had for as long as it was to be kept; or had until its owner
 * deleted it here.
 */
export async function findDeletable(
  fetch: Pick<Fetch, 'delete' | 'mailboxId'>,
  stored: readonly StoredMessage[],
  { nowSeconds, findHeld }: { nowSeconds: number; findHeld(ids: readonly string[]): Promise<ReadonlySet<string>> },
): Promise<StoredMessage[]> {
  const chosen = chooseDeletions(fetch.delete, stored, nowSeconds).filter(({ entry }) => entry.digest !== null);
  const isDone = ({ entry }: StoredMessage): boolean => entry.isReleased || entry.keptUntil <= nowSeconds;
  const ids = new Map(chosen.filter((one) => !isDone(one)).map((one) => [one, messageIdOf(fetch, one.key, one.entry)]));
  const held = await findHeld([...ids.values()]);
  return chosen.filter((one) => isDone(one) || held.has(ids.get(one) ?? ''));
}

/** It was listed, whatever was thought of it before. */
export function asDeleted({ entry: { at, bytes, ownId, digest } }: StoredMessage): DeletedEntry {
  return { state: 'deleted', at, bytes, absent: null, ownId, digest };
}
