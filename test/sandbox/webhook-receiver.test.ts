import { afterEach, describe, expect, it } from 'vitest';
import { startWebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import type { WebhookReceiver, WebhookReceiverOptions } from '../../src/sandbox/webhook-receiver.ts';

describe('the webhook receiver', () => {
  let receiver: WebhookReceiver | undefined;

  afterEach(() => receiver?.close());

  async function start(options?: WebhookReceiverOptions): Promise<WebhookReceiver> {
    receiver = await startWebhookReceiver(options);
    return receiver;
  }

  it('answers 204 and keeps headers and body as they came', async () => {
    const { url, waitFor } = await start();
    const body = Buffer.from([0x7b, 0xff, 0x00, 0x0a, 0x7d]);
    expect(await post(`${url}hook?x=1`, body, { 'webhook-id': 'msg_1' })).toBe(204);
    const [webhook] = await waitFor(1, 1_000);
    expect(webhook?.body).toEqual(body);
    expect(webhook?.headers['webhook-id']).toBe('msg_1');
    expect(webhook?.path).toBe('/hook?x=1');
    expect(webhook?.receivedAt).toBeInstanceOf(Date);
  });

  it('hands them out one by one, and waits for those still to come', async () => {
    const { url, next, waitFor } = await start();
    const first = next(1_000);
    await post(url, 'one');
    await post(url, 'two');
    expect(String((await first).body)).toBe('one');
    expect(String((await next(1_000)).body)).toBe('two');
    expect((await waitFor(2, 1_000)).length).toBe(2);
  });

  it('gives up waiting in time, and misses nothing by that', async () => {
    const { url, next } = await start();
    await expect(next(20)).rejects.toThrow('Waited 20 ms for 1 webhooks, got 0.');
    await post(url, 'late');
    expect(String((await next(1_000)).body)).toBe('late');
  });

  it('answers what it is told to', async () => {
    const statuses = [500, 204];
    const { url, received } = await start({ answer: () => statuses.shift() ?? 204 });
    expect([await post(url, 'x'), await post(url, 'x')]).toEqual([500, 204]);
    expect(received.length).toBe(2);
  });

  it('refuses a body over its bound', async () => {
    const { url, received } = await start({ limits: { bodyBytesMax: 10 } });
    expect(await post(url, 'x'.repeat(10))).toBe(204);
    expect(await post(url, 'x'.repeat(11))).toBe(413);
    expect(received.length).toBe(1);
  });

  it('keeps no more than its bound', async () => {
    const { url, received } = await start({ limits: { keptMax: 1 } });
    expect([await post(url, 'x'), await post(url, 'x')]).toEqual([204, 507]);
    expect(received.length).toBe(1);
  });
});

async function post(url: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<number> {
  return (await fetch(url, { method: 'POST', body, headers })).status;
}
