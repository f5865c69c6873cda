/** `/v1/webhooks` of the real service, by status. Every answer is held against the contract. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { startService, type Service } from '../support/service.ts';

type WebhookBody = components['schemas']['Webhook'];
type Made = components['schemas']['CreatedWebhook'];

const NOWHERE = `whk_${'0'.repeat(26)}`;
const URL = 'https://hook.example.com/in';

let service: Service;
beforeAll(async () => {
  service = await startService({ env: { POPBRIDGE_ROLE: 'api', POPBRIDGE_EGRESS_ALLOW: undefined } });
});
afterAll(() => service?.close());

const make = async (body: object = {}): Promise<Made> => {
  const answer = await service.api('POST', '/v1/webhooks', { body: { url: URL, ...body } });
  expect(answer.status, answer.text).toBe(201);
  return answer.json() as Made;
};
const get = async (id: string): Promise<WebhookBody> =>
  (await service.api('GET', `/v1/webhooks/${id}`)).json() as WebhookBody;

describe('201', () => {
  it('for a URL alone, with all that is not given filled in, and a secret of 32 bytes that is shown this once', async () => {
    const answer = await service.api('POST', '/v1/webhooks', { body: { url: URL } });
    const { webhook, secret } = answer.json() as Made;
    expect(answer.headers.location).toBe(`/v1/webhooks/${webhook.id}`);
    expect(webhook).toMatchObject({
      url: URL,
      description: null,
      events: ['*'],
      mailboxes: null,
      headerNames: [],
      payload: 'thin',
      ratePerSecond: null,
      concurrency: 5,
      ordered: false,
      timeoutSeconds: 15,
      ed25519: false,
      disabled: false,
      disabledReason: null,
      missed: 0,
      publicKey: null,
      secretsValidUntil: [null],
    });
    expect(Buffer.from(secret.replace(/^whsec_/, ''), 'base64')).toHaveLength(32);
    expect(await get(webhook.id)).toEqual(webhook);
    const shown = [await service.api('GET', `/v1/webhooks/${webhook.id}`), await service.api('GET', '/v1/webhooks')];
    for (const { text } of shown) expect(text).not.toContain(secret);
  });

  it('for all that can be set; of extra headers only the names are shown', async () => {
    const settings = {
      description: 'orders',
      events: ['message.*', 'fetch.failed'],
      mailboxes: [`mbx_${'1'.repeat(32)}`],
      payload: 'full',
      ratePerSecond: 0.5,
      concurrency: 1,
      ordered: true,
      timeoutSeconds: 5,
      ed25519: true,
    };
    const { webhook } = await make({ ...settings, headers: { 'X-Gateway': 'token-7' }, disabled: true });
    expect(webhook).toMatchObject({ ...settings, headerNames: ['X-Gateway'], disabled: true, disabledReason: 'owner' });
    expect(webhook.publicKey).toMatch(/^whpk_[A-Za-z0-9+/]{43}=$/);
    expect(JSON.stringify(await get(webhook.id))).not.toContain('token-7');
  });
});

describe('200', () => {
  it('for a list, the oldest first, page by page', async () => {
    const made = [await make(), await make(), await make()].map(({ webhook }) => webhook.id);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const query: string = cursor === null ? '' : `&cursor=${cursor}`;
      const page = (
        await service.api('GET', `/v1/webhooks?limit=2${query}`)
      ).json() as components['schemas']['WebhookPage'];
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(seen).toEqual([...new Set(seen)].sort());
    expect(seen).toEqual(expect.arrayContaining(made));
  });

  it('for a change: what is given is changed, and the rest stays', async () => {
    const { webhook } = await make({ headers: { 'x-a': '1' }, ed25519: true });
    const changed = await service.api('PATCH', `/v1/webhooks/${webhook.id}`, {
      body: { url: 'https://other.example.com/', concurrency: 2, ed25519: false },
    });
    expect(changed.status).toBe(200);
    const { updatedAt, ...rest } = changed.json() as WebhookBody;
    const { updatedAt: before, ...was } = webhook;
    expect(rest).toEqual({
      ...was,
      url: 'https://other.example.com/',
      concurrency: 2,
      ed25519: false,
      publicKey: null,
    });
    expect(updatedAt >= before).toBe(true);
    // Whoever has the public key need not get another.
    const again = await service.api('PATCH', `/v1/webhooks/${webhook.id}`, { body: { ed25519: true, headers: {} } });
    expect(again.json()).toMatchObject({ publicKey: webhook.publicKey, headerNames: [] });
  });

  it('for disabling and enabling', async () => {
    const { webhook } = await make();
    const change = async (disabled: boolean) =>
      (await service.api('PATCH', `/v1/webhooks/${webhook.id}`, { body: { disabled } })).json() as WebhookBody;
    expect(await change(true)).toMatchObject({ disabled: true, disabledReason: 'owner' });
    expect(await change(false)).toMatchObject({ disabled: false, disabledReason: null, disabledAt: null });
  });

  it('for another secret: both sign for a day unless said otherwise, and none but the new one without overlap', async () => {
    const { webhook, secret } = await make();
    const rotate = async (body: object) =>
      (await service.api('POST', `/v1/webhooks/${webhook.id}/secret/rotate`, { body })).json() as Made;
    const beforeMs = Date.now();
    const second = await rotate({});
    expect(second.secret).not.toBe(secret);
    const [current, earlier] = second.webhook.secretsValidUntil;
    expect(current).toBeNull();
    expect(Date.parse(earlier!) - beforeMs).toBeGreaterThanOrEqual(86_400_000);
    expect(Date.parse(earlier!)).toBeLessThanOrEqual(Date.now() + 86_400_000);
    expect((await rotate({ overlapSeconds: 0 })).webhook.secretsValidUntil).toEqual([null]);
  });

  it('for another Ed25519 key where that is asked for, and 409 where there is none', async () => {
    const { webhook } = await make({ ed25519: true });
    const path = `/v1/webhooks/${webhook.id}/secret/rotate`;
    const rotate = async (ed25519: boolean) => (await service.api('POST', path, { body: { ed25519 } })).json() as Made;
    expect((await rotate(false)).webhook.publicKey).toBe(webhook.publicKey);
    const { publicKey } = (await rotate(true)).webhook;
    expect(publicKey).toMatch(/^whpk_/);
    expect(publicKey).not.toBe(webhook.publicKey);
    await service.api('PATCH', `/v1/webhooks/${webhook.id}`, { body: { ed25519: false } });
    const refused = await service.api('POST', path, { body: { ed25519: true } });
    expect([refused.status, refused.asProblem().code]).toEqual([409, 'conflict']);
  });
});

it('204 for DELETE, and 404 from then on', async () => {
  const { webhook } = await make();
  expect((await service.api('DELETE', `/v1/webhooks/${webhook.id}`)).status).toBe(204);
  for (const method of ['GET', 'DELETE']) {
    expect((await service.api(method, `/v1/webhooks/${webhook.id}`)).status).toBe(404);
  }
});

describe('400', () => {
  it.each<[string, object, string]>([
    ['no URL', { url: undefined }, '/url'],
    ['a relative URL', { url: '/hook' }, '/url'],
    ['a type of event that cannot be', { events: ['message'] }, '/events/0'],
    ['no type of event', { events: [] }, '/events'],
    ['a rate of nothing', { ratePerSecond: 0 }, '/ratePerSecond'],
    ['more time than an attempt may take', { timeoutSeconds: 16 }, '/timeoutSeconds'],
    ['a header that frames the message', { headers: { 'Transfer-Encoding': 'chunked' } }, '/headers/Transfer-Encoding'],
    ['a header of the signature', { headers: { 'webhook-id': 'x' } }, '/headers/webhook-id'],
    ['a header with a line end', { headers: { 'x-a': 'b\r\nc: d' } }, '/headers/x-a'],
    ['a secret of its own', { secret: 'whsec_x' }, '/secret'],
  ])('for %s', async (_what, body, pointer) => {
    const answer = await service.api('POST', '/v1/webhooks', { body: { url: URL, ...body } });
    const problem = answer.asProblem();
    expect(problem).toMatchObject({ status: 400, code: 'invalid_request' });
    expect(problem.errors?.map((error) => error.pointer)).toContain(pointer);
  });

  it.each(['message.recieved', 'fetch.done', 'delivery.failed'])(
    'for %s, a type of event that there is not, when it is made and when it is changed; it is told which there are',
    async (unknown) => {
      const events = ['message.*', unknown, 'mailbox.paused'];
      const { webhook } = await make();
      for (const [method, path] of [
        ['POST', '/v1/webhooks'],
        ['PATCH', `/v1/webhooks/${webhook.id}`],
      ] as const) {
        const problem = (await service.api(method, path, { body: { url: URL, events } })).asProblem();
        expect(problem).toMatchObject({ status: 400, code: 'invalid_request' });
        expect(problem.errors).toEqual([
          { in: 'body', pointer: '/events/1', detail: expect.stringContaining('message.received, message.skipped') },
        ]);
      }
      expect(await get(webhook.id)).toEqual(webhook);
    },
  );

  it('for deliveries of a type of event that there is not, when they are listed and when they are sent again', async () => {
    const { webhook } = await make();
    const path = `/v1/webhooks/${webhook.id}`;
    const body = { type: 'message.recieved' };
    for (const answer of [
      await service.api('GET', `${path}/deliveries?type=message.recieved`),
      await service.api('POST', `${path}/replay`, { body }),
    ]) {
      const problem = answer.asProblem();
      expect(problem).toMatchObject({ status: 400, code: 'invalid_request', errors: [{ pointer: '/type' }] });
    }
  });
});

describe('404', () => {
  it.each([
    ['GET', ''],
    ['PATCH', ''],
    ['DELETE', ''],
    ['POST', '/secret/rotate'],
  ])('%s of a webhook that is not there%s', async (method, path) => {
    const body = method === 'PATCH' ? { disabled: true } : method === 'POST' ? {} : undefined;
    const answer = await service.api(method, `/v1/webhooks/${NOWHERE}${path}`, body && { body });
    expect(answer.asProblem()).toMatchObject({ status: 404, code: 'not_found' });
  });
});

describe('422', () => {
  it.each(['http://hook.example.com/', 'https://10.0.0.1/', 'https://169.254.169.254/', 'https://example.com:22/'])(
    'for %s, when it is made and when it is changed',
    async (url) => {
      const refused = await service.api('POST', '/v1/webhooks', { body: { url } });
      expect(refused.asProblem()).toMatchObject({ status: 422, code: 'egress_blocked' });
      const { webhook } = await make();
      const change = await service.api('PATCH', `/v1/webhooks/${webhook.id}`, { body: { url } });
      expect(change.asProblem()).toMatchObject({ status: 422, code: 'egress_blocked' });
      expect((await get(webhook.id)).url).toBe(URL);
    },
  );
});
