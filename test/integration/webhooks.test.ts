/** Webhooks of a tenant from end to end: mail on a POP3 server, the real service, and a receiver that verifies what it gets. */
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { createContractChecker } from '../support/contract.ts';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { startService, type Service } from '../support/service.ts';

const WAIT_MS = 20_000;

// What stands at the end is in no snippet.
const MAILS = ['one', 'two'].map((name) =>
  [
    `Subject: ${name}`,
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary=b',
    '',
    '--b',
    '',
    `${'word '.repeat(200)}the end of ${name}`,
    '--b',
    'Content-Type: application/octet-stream',
    'Content-Disposition: attachment; filename=file.bin',
    'Content-Transfer-Encoding: base64',
    '',
    Buffer.from('the file').toString('base64'),
    '--b--',
    '',
  ].join('\r\n'),
);

let service: Service;
let pop3: FakePop3;
let receiver: WebhookReceiver;
/** What the receiver answers to what has this in it. */
const refused = new Map<string, number>();

beforeAll(async () => {
  receiver = await startWebhookReceiver({
    answer: ({ body }) => [...refused].find(([text]) => body.toString().includes(text))?.[1] ?? 204,
  });
  pop3 = await startFakePop3({ mails: MAILS });
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
      const { type, data } = JSON.parse(webhook.body.toString()) as components['schemas']['MessageReceivedEvent'];
      if (type !== 'message.received') continue;
      // Whoever has the notice needs no key to read the message.
      const linked = await service.api('GET', data.links!.message, { key: null });
      expect(linked.asMessage().id).toBe(data.message!.id);
      const attached = Buffer.from('the file').toString('base64');
      expect(data.attachments).toEqual(
        who === 'full' ? [{ id: expect.any(String) as string, content: attached }] : undefined,
      );
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

it('deliveries are on record with every attempt, and are sent again under the same id: one, and many', async () => {
  const { webhook } = await subscribe({ events: ['fetch.*'], headers: { 'x-who': 'replayed' } });
  const source = { host: pop3.host, port: pop3.port, tls: 'none', username: 'bob', password: 'secret' };
  for (let count = 0; count < 3; count += 1) {
    await service.api('POST', '/v1/fetches', { body: { source }, headers: { prefer: 'wait=30' } });
  }
  type Page = components['schemas']['DeliveryPage'];
  const path = `/v1/webhooks/${webhook.id}/deliveries`;
  const list = async (query: string): Promise<Page> => (await service.api('GET', `${path}?${query}`)).json() as Page;
  await expect.poll(async () => (await list('state=delivered')).items.length, { timeout: WAIT_MS }).toBe(3);

  const first = await list('limit=2&type=fetch.*');
  const second = await list(`limit=2&type=fetch.*&cursor=${first.nextCursor}`);
  expect([first.items.length, second.items.length, second.nextCursor]).toEqual([2, 1, null]);
  const all = [...first.items, ...second.items];
  expect(all.map(({ createdAt }) => createdAt)).toEqual(
    all
      .map(({ createdAt }) => createdAt)
      .sort()
      .toReversed(),
  );
  const [{ id, eventId }] = all as [components['schemas']['Delivery']];
  expect((await list('type=message.*')).items).toEqual([]);
  expect((await list('state=failed')).items).toEqual([]);
  expect((await list('until=2020-01-01T00:00:00Z')).items).toEqual([]);

  const get = async () =>
    (await service.api('GET', `/v1/deliveries/${id}`)).json() as components['schemas']['Delivery'];
  expect(await get()).toMatchObject({ webhookId: webhook.id, state: 'delivered', attempts: [{ status: 204 }] });
  const sent = () => receiver.received.filter(({ headers }) => headers['x-who'] === 'replayed');
  expect(sent()).toHaveLength(3);
  expect((await service.api('POST', `/v1/deliveries/${id}/replay`)).status).toBe(200);
  await expect.poll(async () => (await get()).attempts.length, { timeout: WAIT_MS }).toBe(2);
  expect(sent().at(-1)!.headers['webhook-id']).toBe(eventId);

  const replay = (body: object) => service.api('POST', `/v1/webhooks/${webhook.id}/replay`, { body });
  expect((await replay({})).json()).toEqual({ replayed: 0, nextCursor: null });
  await expect.poll(async () => (await get()).state, { timeout: WAIT_MS }).toBe('delivered');
  expect((await replay({ states: ['delivered'] })).json()).toEqual({ replayed: 3, nextCursor: null });
  await expect.poll(() => sent().length, { timeout: WAIT_MS }).toBe(7);

  await service.api('PATCH', `/v1/webhooks/${webhook.id}`, { body: { disabled: true } });
  expect((await replay({})).asProblem()).toMatchObject({ status: 409, code: 'conflict' });
  expect((await service.api('POST', `/v1/deliveries/${id}/replay`)).asProblem()).toMatchObject({ status: 409 });
  const nothing = `dlv_${'0'.repeat(58)}`;
  expect((await service.api('GET', `/v1/deliveries/${nothing}`)).asProblem()).toMatchObject({ status: 404 });
  expect((await service.api('POST', `/v1/deliveries/${nothing}/replay`)).asProblem()).toMatchObject({ status: 404 });
  expect((await service.api('GET', `/v1/webhooks/whk_${'0'.repeat(26)}/deliveries`)).asProblem()).toMatchObject({
    status: 404,
  });
}, 90_000);

it('can be tried, whatever it is subscribed to, and disabled as it is; that is on no record', async () => {
  const { webhook, secret } = await subscribe({ events: ['mailbox.*'], headers: { 'x-who': 'tried' } });
  const path = `/v1/webhooks/${webhook.id}`;
  const send = async () => (await service.api('POST', `${path}/test`)).json();
  expect(await send()).toMatchObject({ acknowledged: true, attempt: { status: 204, remoteAddress: '127.0.0.1' } });
  const sent = receiver.received.find(({ headers }) => headers['x-who'] === 'tried');
  const { checkWebhook } = createContractChecker();
  checkWebhook(sent!);
  expect(new Webhook(secret).verify(sent!.body, sent!.headers as Record<string, string>)).toMatchObject({
    type: 'webhook.test',
    subject: webhook.id,
  });

  refused.set('webhook.test', 410);
  await service.api('PATCH', path, { body: { disabled: true } });
  expect(await send()).toMatchObject({ acknowledged: false, attempt: { status: 410 } });
  refused.clear();
  expect((await service.api('GET', `${path}/deliveries`)).json()).toMatchObject({ items: [] });
  expect((await service.api('GET', path)).json()).toMatchObject({ disabledReason: 'owner' });
  expect((await service.api('POST', `/v1/webhooks/whk_${'0'.repeat(30)}/test`)).asProblem().status).toBeOneOf([
    400, 404,
  ]);
});

it('the webhook of a fetch is delivered to as any other: on record under the id that the fetch shows, sent again, and gone with the fetch', async () => {
  type Page = components['schemas']['DeliveryPage'];
  const server = await startFakePop3({ mails: MAILS });
  onTestFinished(() => server.close());
  const source = { host: server.host, port: server.port, tls: 'none', username: 'eve', password: 'secret' } as const;
  const secret = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
  const path = '/of-a-fetch';
  refused.set('the end of two', 500);
  const { id } = await service.fetchMail({ source, webhook: { url: `${receiver.url}${path.slice(1)}`, secret } });
  const sent = () => receiver.received.filter((webhook) => webhook.path === path);
  const stands = async () => (await service.api('GET', `/v1/fetches/${id}`)).asFetch().webhook!;
  await expect.poll(async () => (await stands()).lastFailure?.attempt, { timeout: WAIT_MS }).toBeGreaterThan(1);
  expect(await stands()).toMatchObject({
    deliveries: { pending: 1, delivered: 1, failed: 0 },
    lastFailure: { status: 500, nextAttemptAt: expect.any(String) as string },
  });
  refused.clear();
  await expect.poll(async () => (await stands()).deliveries.delivered, { timeout: WAIT_MS }).toBe(2);

  const { checkWebhook } = createContractChecker();
  for (const webhook of sent()) {
    new Webhook(secret).verify(webhook.body, webhook.headers as Record<string, string>);
    checkWebhook(webhook);
    const { data } = JSON.parse(webhook.body.toString()) as components['schemas']['MessageReceivedEvent'];
    expect((data.message as components['schemas']['Message']).text).toContain('the end of');
    expect(data).not.toHaveProperty('attachments');
  }

  const { id: webhookId } = await stands();
  const list = async () => (await service.api('GET', `/v1/webhooks/${webhookId}/deliveries`)).json() as Page;
  const { items } = await list();
  expect(items).toHaveLength(2);
  const retried = items.find(({ attempts }) => attempts.length > 1);
  expect((await service.api('GET', `/v1/deliveries/${retried!.id}`)).json()).toEqual(retried);
  expect(retried).toMatchObject({ webhookId, state: 'delivered' });
  const statuses = retried!.attempts.map(({ status }) => status);
  expect(statuses).toEqual([...statuses.slice(1).map(() => 500), 204]);

  const before = sent().length;
  const replay = (body: object) => service.api('POST', `/v1/webhooks/${webhookId}/replay`, { body });
  expect((await replay({ states: ['delivered'] })).json()).toEqual({ replayed: 2, nextCursor: null });
  await expect.poll(() => sent().length, { timeout: WAIT_MS }).toBe(before + 2);
  expect(new Set(sent().map(({ headers }) => headers['webhook-id'])).size).toBe(2);

  const all = (await service.api('GET', '/v1/webhooks')).json() as components['schemas']['WebhookPage'];
  expect(all.items.map((webhook) => webhook.id)).not.toContain(webhookId);
  expect((await service.api('GET', `/v1/webhooks/${webhookId}`)).status).toBe(404);
  expect((await service.api('DELETE', `/v1/webhooks/${webhookId}`)).status).toBe(404);
  expect((await service.api('DELETE', `/v1/fetches/${id}`)).status).toBe(204);
  expect((await service.api('GET', `/v1/webhooks/${webhookId}/deliveries`)).status).toBe(404);
  expect((await service.api('GET', `/v1/deliveries/${retried!.id}`)).status).toBe(404);
}, 60_000);
