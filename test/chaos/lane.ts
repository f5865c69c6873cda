/** A whole service of its own, on a Redis of its own, that is killed and started again while a trial goes on. */
import { Redis } from 'ioredis';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { startService, type Service } from '../support/service.ts';
import { expireDrainers, expireLeases } from './passed-time.ts';

export interface Lane {
  readonly redis: TestRedis;
  /** The service that runs, or the next one. */
  service(): Promise<Service>;
  /** Another one beside it, on the same data. */
  another(): Promise<Service>;
  /** SIGKILL, and another one on the same data. Resolves when that is ready. */
  killService(): Promise<void>;
  /** SIGKILL of Redis, and another one on the same append-only file. */
  killRedis(): Promise<void>;
  close(): Promise<void>;
}

export interface LaneOptions {
  /** Of the service, over what tests set. */
  env?: Record<string, string>;
  /** In place of new ones in the temporary folder. */
  dataDir?: string;
  redisFolder?: string;
}

export async function startLane(options: LaneOptions = {}): Promise<Lane> {
  const { env = {}, redisFolder } = options;
  const redis = await startRedis(redisFolder);
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'popbridge-chaos-')));
  const start = (): Promise<Service> => startService({ redis, dataDir, env });
  let current = start();
  const others: Service[] = [];
  await current;

  return {
    redis,
    service: () => current,
    async another() {
      const other = await start();
      others.push(other);
      return other;
    },
    async killService() {
      const dying = current;
      current = (async () => {
        const service = await dying;
        await service.kill('SIGKILL');
        const client = new Redis(redis.url);
        await expireLeases(client);
        await expireDrainers(client);
        client.disconnect();
        return start();
      })();
      await current;
    },
    async killRedis() {
      await redis.kill('SIGKILL');
      await redis.restart();
      await (await current).ready();
    },
    async close() {
      await Promise.all([...others, await current].map((service) => service.close()));
      await redis.close();
      if (options.dataDir === undefined) {
        await rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
      }
    },
  };
}
