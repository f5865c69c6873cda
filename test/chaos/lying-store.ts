/** A message store that says of messages that they are stored, and stores them a second later. */
import { setTimeout as delay } from 'node:timers/promises';
import { messageId } from '../../src/identity.ts';
import { createMessageStore as create, type MessageStore } from '../../src/message/message-store.ts';

export function createMessageStore(...given: Parameters<typeof create>): MessageStore {
  const store = create(...given);
  return {
    ...store,
    async store(tenant, messages) {
      void delay(1000).then(() => store.store(tenant, messages));
      return messages.map(({ mailboxId, identity }) => {
        const id = messageId(mailboxId, identity);
        return { id, firstId: id };
      });
    },
  };
}
