/** Signatures by Standard Webhooks, over `id.timestamp.body`, the exact bytes that are sent: HMAC-SHA256 (`v1`) and Ed25519 (`v1a`). */
import { createHmac, createPrivateKey, createSecretKey, sign } from 'node:crypto';

export interface SignedHeaders {
  'webhook-id': string;
  'webhook-timestamp': string;
  'webhook-signature': string;
}

export interface SigningKeys {
  /** `whsec_` and base64, each. */
  secrets: readonly string[];
  /** PKCS #8 in base64, each. */
  ed25519Keys: readonly string[];
}

/** One signature for each key, in their order. @param timestampS seconds since 1970, of this attempt. */
export function signWebhook(
  { secrets, ed25519Keys }: SigningKeys,
  id: string,
  timestampS: number,
  body: Buffer,
): SignedHeaders {
  const head = `${id}.${timestampS}.`;
  const signatures = secrets.map((secret) => {
    // A KeyObject: to find out that bytes are none takes Node longer than to sign.
    const key = createSecretKey(secret.replace(/^whsec_/, ''), 'base64');
    return `v1,${createHmac('sha256', key).update(head).update(body).digest('base64')}`;
  });
  for (const ed25519Key of ed25519Keys) {
    const key = createPrivateKey({ key: Buffer.from(ed25519Key, 'base64'), type: 'pkcs8', format: 'der' });
    signatures.push(`v1a,${sign(null, Buffer.concat([Buffer.from(head), body]), key).toString('base64')}`);
  }
  return { 'webhook-id': id, 'webhook-timestamp': String(timestampS), 'webhook-signature': signatures.join(' ') };
}
