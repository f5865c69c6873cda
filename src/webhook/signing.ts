/** Signatures by Standard Webhooks, over `id.timestamp.body`, the exact bytes that are sent: HMAC-SHA256 (`v1`) and Ed25519 (`v1a`). */
import { createHmac, sign, type KeyObject } from 'node:crypto';
import { readEd25519Key, readSecret } from './secrets.ts';
import type { WebhookSecret } from './webhook.ts';

export interface SignedHeaders {
  'webhook-id': string;
  'webhook-timestamp': string;
  'webhook-signature': string;
}

type Held = Pick<WebhookSecret, 'secret'>;

export interface SigningKeys {
  /** `whsec_` and base64, each. */
  secrets: readonly Held[];
  /** PKCS #8 in base64, each. */
  ed25519Keys: readonly Held[];
}

/** For as long as the secret is held: to make a key of it takes longer than to sign. */
const keys = new WeakMap<Held, KeyObject>();

/** One signature for each key, in their order. @param timestampS seconds since 1970, of this attempt. */
export function signWebhook(
  { secrets, ed25519Keys }: SigningKeys,
  id: string,
  timestampS: number,
  body: Buffer,
): SignedHeaders {
  const head = `${id}.${timestampS}.`;
  const signatures = secrets.map((held) => {
    const key = keyOf(held, readSecret);
    return `v1,${createHmac('sha256', key).update(head).update(body).digest('base64')}`;
  });
  for (const held of ed25519Keys) {
    const key = keyOf(held, readEd25519Key);
    signatures.push(`v1a,${sign(null, Buffer.concat([Buffer.from(head), body]), key).toString('base64')}`);
  }
  return { 'webhook-id': id, 'webhook-timestamp': String(timestampS), 'webhook-signature': signatures.join(' ') };
}

function keyOf(held: Held, read: (secret: string) => KeyObject): KeyObject {
  const key = keys.get(held) ?? read(held.secret);
  keys.set(held, key);
  return key;
}
