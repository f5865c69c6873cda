/** Secrets of a webhook: made here, never by a caller; and which of them sign at a time. */
import { createPrivateKey, createPublicKey, createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { secretBytes, secretsMax } from './limits.ts';
import type { WebhookSecret } from './webhook.ts';

export function makeSecret(random: (bytes: number) => Buffer): string {
  return `whsec_${random(secretBytes).toString('base64')}`;
}

/** A private key, PKCS #8 in base64. */
export function makeEd25519Key(): string {
  const { privateKey } = generateKeyPairSync('ed25519');
  return privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64');
}

/** What signs, of a secret as it is kept. */
export function readSecret(secret: string): KeyObject {
  return createSecretKey(secret.replace(/^whsec_/, ''), 'base64');
}

export function readEd25519Key(ed25519Key: string): KeyObject {
  return createPrivateKey({ key: Buffer.from(ed25519Key, 'base64'), type: 'pkcs8', format: 'der' });
}

/** `whpk_` and the 32 bytes of the key in base64, as Standard Webhooks writes it. */
export function publicKeyOf(ed25519Key: string): string {
  const { x = '' } = createPublicKey(readEd25519Key(ed25519Key)).export({ format: 'jwk' });
  return `whpk_${Buffer.from(x, 'base64url').toString('base64')}`;
}

export function validSecrets(secrets: readonly WebhookSecret[], nowMs: number): WebhookSecret[] {
  return secrets.filter(({ validUntil }) => validUntil === null || Date.parse(validUntil) > nowMs);
}

/** Another secret in front; those before it sign for `overlapMs` at most. */
export function rotateSecrets(
  secrets: readonly WebhookSecret[],
  secret: string,
  overlapMs: number,
  nowMs: number,
): WebhookSecret[] {
  const until = new Date(nowMs + overlapMs).toISOString();
  const earlier = secrets.map(({ validUntil, ...rest }) => ({
    ...rest,
    validUntil: validUntil !== null && validUntil < until ? validUntil : until,
  }));
  return [{ secret, validUntil: null }, ...validSecrets(earlier, nowMs)].slice(0, secretsMax);
}
