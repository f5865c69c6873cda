/** The real service behind a real forward proxy: what goes through it, and that its trouble is no endpoint's. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { startService, type Service } from '../support/service.ts';
import { startTinyproxy, tinyproxyAvailable, type Tinyproxy } from '../support/tinyproxy.ts';

type Delivery = components['schemas']['Delivery'];

const WAIT_MS = 30_000;
const ACCOUNT = { user: 'ann', password: 'secret-of-the-proxy' };

describe.skipIf(!tinyproxyAvailable())('POPBRIDGE_EGRESS_PROXY (skipped where tinyproxy-bin is not installed)', () => {
  let proxy: Tinyproxy;
  let service: Service;
  let pop3: FakePop3;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    proxy = await startTinyproxy({ account: ACCOUNT });
    receiver = await startWebhookReceiver();
    pop3 = await startFakePop3({ mails: ['Subject: one\r\n\r\n1\r\n'] });
    const url = `http://${ACCOUNT.user}:${ACCOUNT.password}@127.0.0.1:${proxy.port}`;
    service = await startService({ env: { POPBRIDGE_EGRESS_PROXY: url } });
  });
  afterAll(async () => {
    await service?.close();
    await pop3?.close();
    await receiver?.close();
    await proxy?.close();
  });

  it('takes webhooks, and not POP3; while it is away no attempt is spent, and once it is back all is delivered', async () => {
    const made = await service.api('POST', '/v1/webhooks', { body: { url: receiver.url, events: ['fetch.*'] } });
    const { webhook } = made.json() as components['schemas']['CreatedWebhook'];
    const path = `/v1/webhooks/${webhook.id}`;
    const list = async (): Promise<readonly Delivery[]> =>
      ((await service.api('GET', `${path}/deliveries`)).json() as components['schemas']['DeliveryPage']).items;
    const fetch = () =>
      service.fetchMail({ source: { host: pop3.host, port: pop3.port, tls: 'none', username: 'u', password: 'p' } });

    expect(await fetch()).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
    await expect.poll(async () => (await list())[0]?.state, { timeout: WAIT_MS }).toBe('delivered');
    const asked = `CONNECT 127.0.0.1:${new URL(receiver.url).port}`;
    expect(await proxy.asked()).toEqual([asked]);

    await proxy.close();
    expect(await fetch()).toMatchObject({ state: 'succeeded' });
    const { err } = (await service.logged('Delivery put off by a fault of ours')) as unknown as { err: object };
    expect(err).toMatchObject({ code: 'egress_unavailable', fields: { proxy: `http://127.0.0.1:${proxy.port}` } });
    expect((await list())[0]).toMatchObject({ state: 'pending', attempts: [] });
    const refused = (await service.api('POST', `${path}/test`)).asProblem();
    expect(refused).toMatchObject({ status: 503, code: 'egress_unavailable' });
    // Where the proxy is, is nobody's business who has no more than a key.
    expect(JSON.stringify(refused)).not.toContain(String(proxy.port));

    proxy = await startTinyproxy({ account: ACCOUNT, port: proxy.port });
    await expect.poll(async () => (await list())[0]?.state, { timeout: WAIT_MS }).toBe('delivered');
    expect((await list())[0]!.attempts).toMatchObject([{ status: 204, remoteAddress: '127.0.0.1' }]);
    expect(await proxy.asked()).toEqual([asked]);
    expect(JSON.stringify(service.output())).not.toContain(ACCOUNT.password);
  }, 120_000);
});
