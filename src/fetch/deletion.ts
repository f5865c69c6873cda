/** Which of the messages that are stored and still in the maildrop its policy lets go. Pure. */
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
