import { createHmac, randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { signWebhook } from '../../src/webhook/signing.ts';

const SECRET = `whsec_${randomBytes(24).toString('base64')}`;
const nowS = (): number => Math.floor(Date.now() / 1000);

describe('a signature, as the published standardwebhooks package judges it', () => {
  test.each([
    ['JSON', Buffer.from('{"type":"message.received"}')],
    ['text beyond ASCII', Buffer.from('{"subject":"Grüße 🔑"}')],
    ['64 kB', Buffer.from(JSON.stringify({ text: 'x'.repeat(65_536) }))],
  ])('is right for %s', (_what, body) => {
    const headers = signWebhook(SECRET, 'evt_1', nowS(), body);
    expect(new Webhook(SECRET).verify(body, { ...headers })).toEqual(JSON.parse(body.toString()));
  });

  test('covers the id, the time, every byte of the body and the secret', () => {
    const body = Buffer.from('{"n":1}');
    const headers = { ...signWebhook(SECRET, 'evt_1', nowS(), body) };
    const webhook = new Webhook(SECRET);
    expect(() => webhook.verify(Buffer.from('{"n":2}'), headers)).toThrow('No matching signature');
    expect(() => webhook.verify(body, { ...headers, 'webhook-id': 'evt_2' })).toThrow('No matching signature');
    const later = String(Number(headers['webhook-timestamp']) + 1);
    expect(() => webhook.verify(body, { ...headers, 'webhook-timestamp': later })).toThrow('No matching signature');
    const other = new Webhook(`whsec_${randomBytes(24).toString('base64')}`);
    expect(() => other.verify(body, headers)).toThrow('No matching signature');
  });

  test('is over the exact bytes, of secrets of 24 to 64 bytes, with or without the prefix', () => {
    for (const bytes of [24, 32, 64]) {
      const key = randomBytes(bytes);
      const body = randomBytes(100);
      const mac = createHmac('sha256', key).update('evt_1.1795435200.').update(body).digest('base64');
      for (const secret of [key.toString('base64'), `whsec_${key.toString('base64')}`]) {
        expect(signWebhook(secret, 'evt_1', 1_795_435_200, body)).toEqual({
          'webhook-id': 'evt_1',
          'webhook-timestamp': '1795435200',
          'webhook-signature': `v1,${mac}`,
        });
      }
    }
  });
});
