/**
 * Events: something that happened, immutable, with an id that is derived and so the same whenever it happens again.
 *
 * An event is passed on as a reference, ids only; what is sent is made from stored data by `payload.ts` when it is sent.
 */
import { eventId } from '../identity.ts';

export interface EventRef {
  id: string;
  type: 'message.received';
  tenant: string;
  mailboxId: string;
  fetchId: string;
  messageId: string;
}

/** Ids and nothing else, whatever else the caller's object holds. */
export function messageReceived(subject: Omit<EventRef, 'id' | 'type'>): EventRef {
  const { tenant, mailboxId, fetchId, messageId } = subject;
  return {
    id: eventId('message.received', messageId),
    type: 'message.received',
    tenant,
    mailboxId,
    fetchId,
    messageId,
  };
}
