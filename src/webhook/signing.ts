/** Signatures by Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, the exact bytes that are sent. */
import { createHmac } from 'node:crypto';

export interface SignedHeaders {
  'webhook-id': string;
  'webhook-timestamp': string;
  'webhook-signature': string;
}

/** @param secret `whsec_` and base64. @param timestampS seconds since 1970, of this attempt. */
export function signWebhook(secret: string, id: string, timestampS: number, body: Buffer): SignedHeaders {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const mac = createHmac('sha256', key).update(`${id}.${timestampS}.`).update(body).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': String(timestampS), 'webhook-signature': `v1,${mac}` };
}
