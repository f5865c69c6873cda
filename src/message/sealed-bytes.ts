/**
 * Bytes under a key, bound to what they belong to: AES-256-GCM (NIST SP 800-38D), the tag behind the ciphertext.
 *
 * The key is made a KeyObject first: to find out that bytes are none takes Node longer than to seal a few kilobytes.
 */
import { createCipheriv, createDecipheriv, createSecretKey, KeyObject } from 'node:crypto';
import { AppError } from '../errors.ts';

export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;

/** What they are sealed with; a nonce serves once under its key. */
export interface Seal {
  /** 32 bytes. */
  key: Buffer | KeyObject;
  /** 12 bytes. */
  nonce: Buffer;
  /** What they belong to (AAD). */
  context: Buffer;
}

export function sealBytes({ key, nonce, context }: Seal, ...parts: Uint8Array[]): Buffer {
  const cipher = createCipheriv('aes-256-gcm', toKeyObject(key), nonce).setAAD(context);
  const sealed = parts.map((part) => cipher.update(part));
  return Buffer.concat([...sealed, cipher.final(), cipher.getAuthTag()]);
}

/** @throws AppError `storage_failed` where these are not the bytes that were sealed so. */
export function openBytes({ key, nonce, context }: Seal, sealed: Buffer): Buffer {
  try {
    const decipher = createDecipheriv('aes-256-gcm', toKeyObject(key), nonce, { authTagLength: TAG_BYTES })
      .setAAD(context)
      .setAuthTag(sealed.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
  } catch (error) {
    throw damaged(error);
  }
}

function toKeyObject(key: Buffer | KeyObject): KeyObject {
  return key instanceof KeyObject ? key : createSecretKey(key);
}

export function damaged(cause?: unknown): AppError {
  return new AppError('storage_failed', 'A blob is damaged: its seal does not fit its bytes.', { cause });
}
