import { messageReceived, type EventRef } from '../../src/event/event.ts';

/** As the log gives it out. */
export function received(messageId: string, fetchId = 'fch_1'): EventRef {
  const about = { tenant: 'default', mailboxId: 'mbx_1', fetchId, messageId, time: '2026-11-23T12:00:00.000Z' };
  return { ...messageReceived(about), sequence: 1 };
}
