import { createHmac, createPublicKey, randomBytes, verify } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { makeEd25519Key, makeSecret, publicKeyOf, rotateSecrets, validSecrets } from '../../src/webhook/secrets.ts';
import { signWebhook } from '../../src/webhook/signing.ts';

const SECRET = `whsec_${randomBytes(24).toString('base64')}`;
const KEYS = { secrets: [{ secret: SECRET }], ed25519Keys: [] };
const nowS = (): number => Math.floor(Date.now() / 1000);

describe('a signature, as the published standardwebhooks package judges it', () => {
  test.each([
    ['JSON', Buffer.from('{"type":"message.received"}')],
    ['text beyond ASCII', Buffer.from('{"subject":"Grüße 🔑"}')],
    ['64 kB', Buffer.from(JSON.stringify({ text: 'x'.repeat(65_536) }))],
  ])('is right for %s', (_what, body) => {
    const headers = signWebhook(KEYS, 'evt_1', nowS(), body);
    expect(new Webhook(SECRET).verify(body, { ...headers })).toEqual(JSON.parse(body.toString()));
  });

  test('covers the id, the time, every byte of the body and the secret', () => {
    const body = Buffer.from('{"n":1}');
    const headers = { ...signWebhook(KEYS, 'evt_1', nowS(), body) };
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
        expect(signWebhook({ secrets: [{ secret }], ed25519Keys: [] }, 'evt_1', 1_795_435_200, body)).toEqual({
          'webhook-id': 'evt_1',
          'webhook-timestamp': '1795435200',
          'webhook-signature': `v1,${mac}`,
        });
      }
    }
  });
});

describe('more than one key', () => {
  const body = Buffer.from('{"n":1}');

  test('while secrets are changed over, the published package takes the request with the old one and with the new one', () => {
    const [old, next] = [makeSecret(randomBytes), makeSecret(randomBytes)];
    const nowMs = Date.now();
    const rotated = rotateSecrets([{ secret: old, validUntil: null }], next, 60_000, nowMs);
    const signedAt = (ms: number) => {
      const secrets = validSecrets(rotated, ms);
      return { ...signWebhook({ secrets, ed25519Keys: [] }, 'evt_1', nowS(), body) };
    };
    for (const secret of [old, next]) expect(new Webhook(secret).verify(body, signedAt(nowMs))).toEqual({ n: 1 });
    const after = signedAt(nowMs + 60_000);
    expect(new Webhook(next).verify(body, after)).toEqual({ n: 1 });
    expect(() => new Webhook(old).verify(body, after)).toThrow('No matching signature');
  });

  test('no overlap revokes all earlier secrets at once, and a second change lengthens nothing', () => {
    const first = { secret: 'whsec_1', validUntil: null };
    expect(rotateSecrets([first], 'whsec_2', 0, 1_000)).toEqual([{ secret: 'whsec_2', validUntil: null }]);
    const second = rotateSecrets([first], 'whsec_2', 10_000, 0);
    expect(rotateSecrets(second, 'whsec_3', 86_400_000, 5_000)).toEqual([
      { secret: 'whsec_3', validUntil: null },
      { secret: 'whsec_2', validUntil: new Date(86_405_000).toISOString() },
      { secret: 'whsec_1', validUntil: new Date(10_000).toISOString() },
    ]);
  });

  test('a secret has 32 bytes', () => {
    const secret = makeSecret(randomBytes);
    expect(Buffer.from(secret.replace('whsec_', ''), 'base64')).toHaveLength(32);
  });

  test('Ed25519 signs the same bytes, and the public key that is shown verifies it', () => {
    const ed25519Key = makeEd25519Key();
    const headers = { ...signWebhook({ ...KEYS, ed25519Keys: [{ secret: ed25519Key }] }, 'evt_1', nowS(), body) };
    const [hmac, ed25519 = ''] = headers['webhook-signature'].split(' ');
    expect(hmac).toMatch(/^v1,/);
    expect(ed25519).toMatch(/^v1a,/);
    const x = Buffer.from(publicKeyOf(ed25519Key).replace('whpk_', ''), 'base64');
    expect(x).toHaveLength(32);
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') }, format: 'jwk' });
    const signature = Buffer.from(ed25519.slice('v1a,'.length), 'base64');
    const signed = Buffer.from(`evt_1.${headers['webhook-timestamp']}.${body.toString()}`);
    expect(verify(null, signed, key, signature)).toBe(true);
    expect(verify(null, Buffer.concat([signed, Buffer.from(' ')]), key, signature)).toBe(false);
    // Who knows of `v1` alone passes over the other.
    expect(new Webhook(SECRET).verify(body, headers)).toEqual({ n: 1 });
  });
});
