/** A service of its own, on a Redis of its own, that is killed and started again while a trial goes on. */
import { Redis } from 'ioredis';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { startService, type Service } from '../support/service.ts';

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

/** @param env of the service, over what tests set. */
export async function startLane(env: Record<string, string> = {}): Promise<Lane> {
  const redis = await startRedis();
  const dataDir = await mkdtemp(join(tmpdir(), 'popbridge-chaos-'));
  const start = (): Promise<Service> => startService({ redis, dataDir, env });
  let current = start();

  /** A lease outlives its holder by ten seconds. Here they have passed. */
  async function letLeasesRunOut(): Promise<void> {
    const client = new Redis(redis.url);
    const leases = await client.keys('*:lease');
    if (leases.length > 0) await client.del(...leases);
    client.disconnect();
  }

  const others: Service[] = [];

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
        await letLeasesRunOut();
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
      await rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}

/** So many lanes, of which each trial takes one for itself. */
export async function openLanes(
  count: number,
): Promise<{ take(): Promise<Lane>; give(lane: Lane): void; close(): Promise<void> }> {
  const lanes = await Promise.all(Array.from({ length: count }, () => startLane()));
  const idle = [...lanes];
  const waiting: ((lane: Lane) => void)[] = [];
  return {
    async take() {
      const lane = idle.pop();
      return lane ?? new Promise((resolve) => waiting.push(resolve));
    },
    give(lane) {
      const next = waiting.shift();
      if (next) next(lane);
      else idle.push(lane);
    },
    async close() {
      await Promise.all(lanes.map((lane) => lane.close()));
    },
  };
}
