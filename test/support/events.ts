import type { Announcements } from '../../src/fetch/announcements.ts';
import { messageReceived, type EventRef } from '../../src/event/event.ts';

/** As the log gives it out. */
export function received(messageId: string, fetchId = 'fch_1'): EventRef {
  const about = { tenant: 'default', mailboxId: 'mbx_1', fetchId, messageId, time: '2026-11-23T12:00:00.000Z' };
  return { ...messageReceived(about), sequence: 1 };
}

/** Announcements that call this, with what is told and its subjects. */
export function announcements(
  note: (what: keyof Announcements, ids: readonly string[]) => void = () => {},
): Announcements {
  return {
    received: async (_fetch, messages) =>
      note(
        'received',
        messages.map(({ id }) => id),
      ),
    skipped: async (_fetch, messages) =>
      note(
        'skipped',
        messages.map(({ id }) => id),
      ),
    deletedUpstream: async (_fetch, ids) => note('deletedUpstream', ids),
    renumbered: async ({ mailboxId }) => note('renumbered', [mailboxId]),
    ended: async ({ id }) => note('ended', [id]),
    changedState: async ({ mailbox }) => note('changedState', [mailbox]),
  };
}
