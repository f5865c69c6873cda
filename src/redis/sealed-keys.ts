/** Finds all keys that hold something sealed under a master key, whoever they belong to, page by page. */
import { mastersOf, type RedisClient } from './client.ts';
import { parseSealedKey, SEALED_KEYS_PATTERN, type SealedKey } from './keys.ts';
import { scanLimits } from './limits.ts';

/** What is there all the time is found; what is made meanwhile may be missed, and a key may come twice (SCAN's own promise). */
export async function* scanSealedKeys(redis: RedisClient): AsyncGenerator<SealedKey[]> {
  for (const master of mastersOf(redis).values()) {
    let cursor = '0';
    do {
      const [next, keys] = await master.redis.scan(
        cursor,
        'MATCH',
        SEALED_KEYS_PATTERN,
        'COUNT',
        scanLimits.keysPerCall,
      );
      const found = keys.map(parseSealedKey).filter((key) => key !== null);
      if (found.length > 0) yield found;
      cursor = next;
    } while (cursor !== '0');
  }
}
