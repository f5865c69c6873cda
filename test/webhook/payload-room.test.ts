/** Attachments in the bodies of attempts: what those that hang have taken of the room for them. */
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import type { EventRef } from '../../src/event/event.ts';
import { inlineAttachments, type AttachmentReader, type TakeBytes } from '../../src/event/inline-attachments.ts';
import { buildPayload, tellWhole } from '../../src/event/payload.ts';
import type { WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { createPayloadRoom } from '../../src/webhook/payload-room.ts';
import type { PayloadForm } from '../../src/webhook/webhook.ts';
import { makeStoredMessage } from '../support/stored-message.ts';
import { received, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';

const it = useDelivering();
const receive = useReceivers();
const WAIT_MS = 15_000;
const ATTACHED = Buffer.from('the bytes of the attachment');
/** As they are sent. */
const SENT_BYTES = ATTACHED.toString('base64').length;

const raw = Buffer.from(
  [
    'Subject: one',
    'Content-Type: application/octet-stream; name=a.bin',
    'Content-Disposition: attachment',
    'Content-Transfer-Encoding: base64',
    '',
    ATTACHED.toString('base64'),
    '',
  ].join('\r\n'),
);
const findMessage = async (_tenant: string, id: string) => makeStoredMessage(raw, { id });
const reader: AttachmentReader = {
  findAttachment: async () => ({ open: async () => Readable.from([ATTACHED]) }),
};
const LINKS = { message: '/message', raw: '/raw', attachments: [] };
const tellFull = tellWhole(
  { find: findMessage },
  {
    links: () => LINKS as never,
    attachments: (tenant, message, take) => inlineAttachments(reader, tenant, message, take),
  },
);
const realPayload = (event: EventRef, _form: PayloadForm, take?: TakeBytes) => buildPayload(tellFull, event, take);

async function nextData(receiver: WebhookReceiver): Promise<{ attachments: unknown[]; links: unknown }> {
  const { body } = await receiver.next(WAIT_MS);
  return (JSON.parse(body.toString()) as { data: { attachments: unknown[]; links: unknown } }).data;
}

test('while attempts that hang have all the room, others are sent with links in place of the bytes; once they end, with bytes again', async () => {
  const letGo = Promise.withResolvers<number>();
  const hanging = await receive({ answer: () => letGo.promise });
  const [other, last] = [await receive(), await receive()];
  it.start({ buildPayload: realPayload, room: createPayloadRoom({ max: SENT_BYTES, maxOfOne: SENT_BYTES }) });

  const stuck = await it.make(hanging.url, { payload: 'full', mailboxes: [received(1).mailboxId!], timeoutMs: 15_000 });
  await it.announce(received(1));
  const inlined = [{ id: 'att_1', content: ATTACHED.toString('base64') }];
  expect((await nextData(hanging)).attachments).toEqual(inlined);

  const [second, third] = [received(2, 2), received(3, 3)];
  const quick = await it.make(other.url, { payload: 'full', mailboxes: [second.mailboxId!] });
  await it.announce(second);
  expect(await nextData(other)).toMatchObject({ attachments: [], links: LINKS });
  await it.until(quick, second, 'delivered');

  letGo.resolve(204);
  await it.until(stuck, received(1), 'delivered');
  await it.make(last.url, { payload: 'full', mailboxes: [third.mailboxId!] });
  await it.announce(third);
  expect((await nextData(last)).attachments).toEqual(inlined);
});

test('what an attempt took is free again when it fails before anything is sent', async () => {
  const receiver = await receive();
  let isBroken = true;
  await it.make(receiver.url, { payload: 'full' });
  it.start({
    async buildPayload(event, form, take) {
      const built = await realPayload(event, form, take);
      if (!isBroken) return built;
      isBroken = false;
      throw new Error('broken');
    },
    room: createPayloadRoom({ max: SENT_BYTES, maxOfOne: SENT_BYTES }),
  });
  await it.announce(received(1));
  await expect.poll(() => isBroken, { timeout: WAIT_MS }).toBe(false);
  await it.announce(received(2));
  expect((await nextData(receiver)).attachments).toHaveLength(1);
});

test('one tenant never has all of the room', () => {
  const room = createPayloadRoom({ max: 10, maxOfOne: 6 });
  const [greedy, again, other] = [room.enter('greedy'), room.enter('greedy'), room.enter('other')];
  expect([greedy.take(4), again.take(3), again.take(2), other.take(5), other.take(4)]).toEqual([
    true,
    false,
    true,
    false,
    true,
  ]);
  expect(greedy.take(1)).toBe(false);
  greedy.leave();
  greedy.leave();
  expect([again.take(5), again.take(4), other.take(1)]).toEqual([false, true, false]);
});
