import { expect, test } from 'vitest';
import { deliveryId, readDeliveryId } from '../../src/identity.ts';
import { wantsEvent } from '../../src/webhook/webhook.ts';

test.each<[string[], string[] | null, string, string | null, boolean]>([
  [['*'], null, 'message.received', 'mbx_1', true],
  [['*'], null, 'webhook.disabled', null, true],
  [['message.*'], null, 'message.received', 'mbx_1', true],
  [['message.*'], null, 'messages.received', 'mbx_1', false],
  [['message.*'], null, 'mailbox.warning', 'mbx_1', false],
  [['message.received'], null, 'message.received', 'mbx_1', true],
  [['message.received'], null, 'message.skipped', 'mbx_1', false],
  [['fetch.failed', 'mailbox.*'], null, 'mailbox.warning', 'mbx_1', true],
  [['*'], ['mbx_1', 'mbx_2'], 'message.received', 'mbx_2', true],
  [['*'], ['mbx_1'], 'message.received', 'mbx_2', false],
  [['*'], ['mbx_1'], 'webhook.disabled', null, false],
])('a webhook of %j and mailboxes %j asked for %s of %s: %s', (events, mailboxes, type, mailboxId, isWanted) => {
  expect(wantsEvent({ events, mailboxes }, { type, mailboxId })).toBe(isWanted);
});

test('the id of a delivery says of which webhook and event it is', () => {
  const [webhookId, eventId] = [`whk_${'1a'.repeat(13)}`, `evt_${'2b'.repeat(16)}`];
  const id = deliveryId(webhookId, eventId);
  expect(id).toMatch(/^dlv_[0-9a-z]{58}$/);
  expect(readDeliveryId(id)).toEqual({ webhookId, eventId });
});
