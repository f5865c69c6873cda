/**
 * Sealing: secrets at rest are AES-256-GCM under a master key (NIST SP 800-38D). What a secret belongs to is part of the
 * seal (AAD), so that one record's secret cannot be opened as another's.
 *
 * Sealed form: `v1.KEYID.NONCE.TAG.CIPHERTEXT`, the last three in base64url. Several keys open, the first one seals.
 */
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { AppError } from '../errors.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;

export interface Sealer {
  /** The id of the first key, and of all. */
  readonly sealingId: string;
  readonly keyIds: readonly string[];
  seal(plaintext: string, context: readonly string[]): string;
  /** @throws AppError `credentials_unavailable` when the key is gone or the seal is broken. */
  open(sealed: string, context: readonly string[]): string;
  /** True where another key than the first has sealed it. */
  isOutdated(sealed: string): boolean;
}

/**
 * @param masterKeys `id:base64,id:base64`.
 * @param place where they were read, for errors.
 * @throws AppError `invalid_config`, which never repeats a key.
 */
export function createSealer(masterKeys: string, place = 'POPBRIDGE_MASTER_KEYS'): Sealer {
  const keys = parseMasterKeys(masterKeys, place);
  const [first] = keys;
  if (!first) throw new AppError('invalid_config', `${place} holds no key.`);
  const [sealingId, sealingKey] = first;
  const byId = new Map(keys);
  // Of two keys by one name, one would seal what the other is to open.
  if (byId.size < keys.length) throw new AppError('invalid_config', `${place} names two keys alike.`);
  return {
    sealingId,
    keyIds: [...byId.keys()],
    isOutdated: (sealed) => keyIdOf(sealed) !== sealingId,
    seal(plaintext, context) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', createSecretKey(sealingKey), nonce).setAAD(encodeContext(context));
      const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()]);
      const parts = [nonce, cipher.getAuthTag(), ciphertext].map((part) => part.toString('base64url'));
      return ['v1', sealingId, ...parts].join('.');
    },
    open(sealed, context) {
      const [version, id = '', ...parts] = sealed.split('.');
      const key = byId.get(id);
      const [nonce, tag, ciphertext] = parts.map((part) => Buffer.from(part, 'base64url'));
      if (version !== 'v1' || !key || !nonce || !tag || !ciphertext) {
        throw unavailable(key ? 'they are damaged' : `their master key "${id}" is not among ${place}`);
      }
      try {
        const decipher = createDecipheriv('aes-256-gcm', createSecretKey(key), nonce, { authTagLength: 16 })
          .setAAD(encodeContext(context))
          .setAuthTag(tag);
        return Buffer.concat([decipher.update(ciphertext), decipher.final()]).toString('utf8');
      } catch (error) {
        throw unavailable('the seal is broken, or the master key has another value than before', error);
      }
    },
  };
}

/** In their order. @throws AppError `invalid_config`, which never repeats a key. */
export function parseMasterKeys(text: string, place = 'POPBRIDGE_MASTER_KEYS'): [id: string, key: Buffer][] {
  return text.split(',').map((entry, index) => {
    const match = /^\s*([A-Za-z0-9_-]{1,64}):([A-Za-z0-9+/_-]{43}=?)\s*$/.exec(entry);
    const key = Buffer.from(match?.[2] ?? '', 'base64');
    if (!match?.[1] || key.length !== KEY_BYTES) {
      throw new AppError(
        'invalid_config',
        `${place}: entry ${index + 1} is not "id:base64" with ${KEY_BYTES} bytes. Make one: echo "k1:$(openssl rand -base64 32)"`,
      );
    }
    return [match[1], key];
  });
}

/** The id of the key that has sealed it; null where it is no seal. */
export function keyIdOf(sealed: string): string | null {
  return /^v1\.([A-Za-z0-9_-]{1,64})\./.exec(sealed)?.[1] ?? null;
}

/** An entry for a new key. */
export function makeMasterKey(id: string): string {
  return `${id}:${randomBytes(KEY_BYTES).toString('base64')}`;
}

function encodeContext(context: readonly string[]): Buffer {
  return Buffer.from(JSON.stringify(context));
}

function unavailable(why: string, cause?: unknown): AppError {
  return new AppError('credentials_unavailable', `The sealed credentials cannot be opened: ${why}.`, { cause });
}
