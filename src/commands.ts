/** The composition root of the command line: what a command needs of the service's parts, opened and closed for it alone. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { countSealed, rotateKeys } from './cli/key-rotation.ts';
import { runProgram } from './cli/program.ts';
import { createSealedPlaces } from './cli/sealed-places.ts';
import { readMasterKeys } from './config/master-keys.ts';
import { createSealer, makeMasterKey, type Sealer } from './mailbox/sealing.ts';
import { startEmbedded, type AppOptions, type Closer } from './parts.ts';
import { connectRedis, openRedis } from './redis/connection.ts';
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
      withRedis(readOptions(), (redis, sealer) => countSealed({ places: createSealedPlaces(redis, sealer), sealer })),
    rotateKeys: () =>
      withRedis(readOptions(), (redis, sealer, { config, onProgress }) =>
        rotateKeys({
          places: createSealedPlaces(redis, sealer),
          sealer,
          durability: createDurability(
            redis,
            { sleep: async (ms) => sleep(ms) },
            { replicasMin: config.redisReplicas },
          ),
          onProgress,
        }),
      ),
    makeMasterKey,
    now: () => new Date(),
    print,
  });
}

async function withRedis<T>(
  options: AppOptions,
  work: (redis: Redis, sealer: Sealer, options: AppOptions) => Promise<T>,
): Promise<T> {
  const { config, logger } = options;
  const master = await readMasterKeys(config);
  const sealer = createSealer(master.value, master.place);
  const closers: Closer[] = [];
  try {
    const address = config.redisUrl ?? (await startEmbedded(options, (closer) => closers.push(closer)));
    const redis = openRedis(address, logger);
    closers.push(() => redis.disconnect());
    await connectRedis(redis, config.redisUrl ? new URL(config.redisUrl).host : address);
    return await work(redis, sealer, options);
  } finally {
    for (const closer of closers.toReversed()) await closer();
  }
}
