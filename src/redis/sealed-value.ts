/**
 * Sealed values in Redis: where one lies, and how another is put in its place. Whatever was sealed under another master key than the
 * first is sealed anew when it is opened, and never over a change that somebody else has made meanwhile.
 */
import type { RedisClient } from './client.ts';
import { defineScript } from './script.ts';

/** Seals under the first master key, opens under each; `mailbox/sealing.ts` is one. */
export interface ValueSealer {
  seal(plaintext: string, context: readonly string[]): string;
  open(sealed: string, context: readonly string[]): string;
  /** True where another key than the first has sealed it. */
  isOutdated(sealed: string): boolean;
}

export interface SealedValue {
  sealed: string;
  /** What it belongs to; a part of the seal. */
  context: readonly string[];
  /** False where it has changed, or gone, meanwhile. */
  replace(sealed: string): Promise<boolean>;
}

/** KEYS: string. ARGV: value as it was, as it is to be. Its time to live stays. */
const replaceString = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
  return 1`);

/** KEYS: hash. ARGV: field, value as it was, as it is to be. */
const replaceField = defineScript(`
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  return 1`);

export function sealedString(redis: RedisClient, key: string, sealed: string, context: readonly string[]): SealedValue {
  return { sealed, context, replace: async (next) => (await replaceString(redis, [key], [sealed, next])) === 1 };
}

export function sealedField(
  redis: RedisClient,
  [key, field]: readonly [key: string, field: string],
  sealed: string,
  context: readonly string[],
): SealedValue {
  return { sealed, context, replace: async (next) => (await replaceField(redis, [key], [field, sealed, next])) === 1 };
}

/** @throws what the sealer throws. */
export async function openSealed(sealer: ValueSealer, value: SealedValue): Promise<string> {
  const plaintext = sealer.open(value.sealed, value.context);
  if (sealer.isOutdated(value.sealed)) {
    // What can be read is given out even where Redis takes no writes; the next one who opens it tries again.
    await value.replace(sealer.seal(plaintext, value.context)).catch(() => false);
  }
  return plaintext;
}
