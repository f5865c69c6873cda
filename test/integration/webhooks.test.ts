/** Webhooks of a tenant from end to end: mail on a POP3 server, the real service, and a receiver that verifies what it gets. */
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { createContractChecker } from '../support/contract.ts';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { startService, type Service } from '../support/service.ts';

const WAIT_MS = 20_000;

let service: Service;
let pop3: FakePop3;
let receiver: WebhookReceiver;
/** What the receiver answers to what has this in it. */
const refused = new Map<string, number>();

beforeAll(async () => {
  receiver = await startWebhookReceiver({
    answer: ({ body }) => [...refused].find(([text]) => body.toString().includes(text))?.[1] ?? 204,
  });
  pop3 = await startFakePop3({
    // What stands at the end is in no snippet.
    mails: ['one', 'two'].map((name) => `Subject: ${name}\r\n\r\n${'word '.repeat(200)}the end of ${name}\r\n`),
  });
  service = await startService({ env: { POPBRIDGE_WEBHOOK_RETRIES: '1s,1s,1s,1s,1s,1s' } });
});
afterAll(async () => {
  await service?.close();
  await pop3?.close();
  await receiver?.close();
});

const subscribe = async (body: object): Promise<components['schemas']['CreatedWebhook']> =>
  (await service.api('POST', '/v1/webhooks', { body: { url: receiver.url, ...body } })).json() as never;

it('each event comes signed and by the contract, thin without text; what all have acknowledged counts as acknowledged', async () => {
  const thin = await subscribe({
    events: ['message.received', 'fetch.succeeded'],
    ed25519: true,
    headers: { 'x-who': 'thin' },
  });
  const full = await subscribe({ events: ['message.*'], payload: 'full', headers: { 'x-who': 'full' } });
  refused.set('the end of two', 500);

  const source = { host: pop3.host, port: pop3.port, tls: 'none', username: 'ann', password: 'secret' };
  const made = await service.api('POST', '/v1/mailboxes', { body: { source, delete: 'acknowledged' } });
  const { id: mailbox } = made.json() as { id: string };
  const fetch = () => service.api('POST', `/v1/mailboxes/${mailbox}/fetches`, { headers: { prefer: 'wait=30' } });
  expect((await fetch()).asFetch()).toMatchObject({ state: 'succeeded', counts: { retrieved: 2, deleted: 0 } });

  const at = (who: string) => receiver.received.filter(({ headers }) => headers['x-who'] === who);
  await expect.poll(() => at('thin').length, { timeout: WAIT_MS }).toBe(3);
  await expect.poll(() => at('full').length, { timeout: WAIT_MS }).toBeGreaterThanOrEqual(3);
  const { checkWebhook } = createContractChecker();
  for (const [who, { secret }] of [
    ['thin', thin],
    ['full', full],
  ] as const) {
    for (const webhook of at(who)) {
      new Webhook(secret).verify(webhook.body, webhook.headers as Record<string, string>);
      checkWebhook(webhook);
      expect(webhook.body.includes('the end of')).toBe(who === 'full');
    }
  }

  // The one that was refused is not acknowledged, and stays on the server; the other one goes.
  const pending = async (): Promise<unknown> => {
    const page = (await service.api('GET', '/v1/messages?acknowledged=false')).json() as {
      items: { subject: string }[];
    };
    return page.items.map(({ subject }) => subject);
  };
  await expect.poll(pending, { timeout: WAIT_MS }).toEqual(['two']);
  expect((await fetch()).asFetch()).toMatchObject({ state: 'succeeded', counts: { deleted: 1 } });
  refused.clear();
  await expect.poll(pending, { timeout: WAIT_MS }).toEqual([]);
  expect((await fetch()).asFetch()).toMatchObject({ state: 'succeeded', counts: { deleted: 1 } });
}, 90_000);
