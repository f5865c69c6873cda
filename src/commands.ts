/** The composition root of the command line: what a command needs of the service's parts, opened and closed for it alone. */
import { setTimeout as sleep } from 'node:timers/promises';
import { countSealed, rotateKeys } from './cli/key-rotation.ts';
import { runProgram } from './cli/program.ts';
import { createSealedPlaces } from './cli/sealed-places.ts';
import { readMasterKeys } from './config/master-keys.ts';
import { AppError, toError } from './errors.ts';
import { createFetchStore } from './fetch/fetch-store.ts';
import { createMailboxLedger } from './fetch/mailbox-ledger.ts';
import { createSealer, makeMasterKey, type Sealer } from './mailbox/sealing.ts';
import type { BlobStore } from './message/blobs/blob-store.ts';
import { createBlobStore } from './message/blobs/blob-store-choice.ts';
import { createMessageStore, type MessageStorePorts } from './message/message-store.ts';
import { findRedis, type AppOptions, type Closer } from './parts.ts';
import type { RedisClient } from './redis/client.ts';
import { connectRedis, isRedisUnavailable, openPatientRedis } from './redis/connection.ts';
import { openData } from './redis/data-version.ts';
import { createDurability } from './redis/durability.ts';

/**
 * @param readOptions called by commands that need settings.
 * @returns the exit code.
 * @throws AppError `invalid_config`, `storage_unavailable`, `storage_failed`.
 */
export function runCommand(
  args: readonly string[],
  readOptions: () => AppOptions,
  print: (text: string) => void,
): Promise<number> {
  return runProgram(args, {
    countSealed: () =>
      withStores(readOptions(), ({ redis, blobs, sealer }) =>
        countSealed({ places: createSealedPlaces(redis, blobs, sealer), sealer }),
      ),
    rotateKeys: () =>
      withStores(readOptions(), ({ redis, blobs, sealer, options: { config, onProgress } }) =>
        rotateKeys({
          places: createSealedPlaces(redis, blobs, sealer),
          sealer,
          durability: createDurability(
            redis,
            { sleep: async (ms) => sleep(ms) },
            { replicasMin: config.redisReplicas },
          ),
          onProgress,
        }),
      ),
    recover: (isDryRun) =>
      withStores(readOptions(), ({ redis, blobs, sealer, options: { config } }) => {
        const ledger = createMailboxLedger(redis, createFetchStore(redis));
        const clock = { now: () => Date.now() };
        const onReleased: MessageStorePorts['onReleased'] = (message) => ledger.release(message, message.id);
        const messages = createMessageStore({ redis, blobs, sealer, clock, quota: config.quota, onReleased });
        return messages.recover({ isDryRun, signal: new AbortController().signal });
      }),
    makeMasterKey,
    now: () => new Date(),
    print,
  });
}

interface Stores {
  redis: RedisClient;
  blobs: BlobStore;
  sealer: Sealer;
  options: AppOptions;
}

async function withStores<T>(options: AppOptions, work: (stores: Stores) => Promise<T>): Promise<T> {
  const { config, logger } = options;
  const master = await readMasterKeys(config);
  const sealer = createSealer(master.value, master.place);
  const closers: Closer[] = [];
  try {
    const place = await findRedis(options, (closer) => closers.push(closer));
    const redis = openPatientRedis(place, logger);
    closers.push(() => redis.disconnect());
    await connectRedis(redis, place);
    await openData(redis, logger);
    const blobs = createBlobStore(config.blobs, { redis, dataDir: config.dataDir });
    return await work({ redis, blobs, sealer, options });
  } catch (error) {
    if (!isRedisUnavailable(error)) throw error;
    throw new AppError(
      'storage_unavailable',
      `Redis went away and was not back within a minute. What was done stays so: repeat the command. (${toError(error).message})`,
      { cause: error },
    );
  } finally {
    for (const closer of closers.toReversed()) await closer();
  }
}
