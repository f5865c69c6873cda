/** Finds all keys that hold something sealed under a master key, whoever they belong to, page by page. */
import type { Redis } from 'ioredis';
import { parseSealedKey, SEALED_KEYS_PATTERN, type SealedKey } from './keys.ts';
import { scanLimits } from './limits.ts';

/** What is there all the time is found; what is made meanwhile may be missed, and a key may come twice (SCAN's own promise). */
export async function* scanSealedKeys(redis: Redis): AsyncGenerator<SealedKey[]> {
  let cursor = '0';
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', SEALED_KEYS_PATTERN, 'COUNT', scanLimits.keysPerCall);
    const found = keys.map(parseSealedKey).filter((key) => key !== null);
    if (found.length > 0) yield found;
    cursor = next;
  } while (cursor !== '0');
}
