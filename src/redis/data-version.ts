/**
 * In which form the data in Redis are. A version of popbridge that writes what older ones would misread counts it up; one that finds a higher
 * number than it knows leaves the data alone. Versions that share a number may run side by side on one Redis, as in a rolling upgrade.
 */
import type { Redis } from 'ioredis';
import { AppError } from '../errors.ts';
import { dataVersionKey } from './keys.ts';

/** What this popbridge reads and writes. */
export const dataVersion = 1;

/** @throws AppError `invalid_config` where a newer popbridge has written the data. */
export async function checkDataVersion(redis: Redis, known = dataVersion): Promise<void> {
  // Data without a number are of before there was one: the first form.
  await redis.set(dataVersionKey, dataVersion, 'NX');
  const found = Number(await redis.get(dataVersionKey));
  if (found > known) {
    throw new AppError(
      'invalid_config',
      `A newer popbridge has written the data in this Redis (data version ${found}; this one knows ${known}). ` +
        'Run that version, or go back to a copy of the data from before it.',
    );
  }
}
