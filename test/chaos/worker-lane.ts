/** A Redis, an API and a worker of their own. The worker is killed at points that are told in advance, again and again. */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startRedis } from '../support/redis.ts';
import { startService, type Service } from '../support/service.ts';
import { expireDrainers, expireJobLocks, expireLeases } from './passed-time.ts';
import { startWorker } from './worker.ts';

/** So many bytes of mail servers, lines to them, commands to Redis, or webhooks after the worker before has come up. */
export interface KillPoint {
  on: 'bytes' | 'line' | 'command' | 'webhook';
  after: number;
}

export interface WorkerLane {
  readonly api: Service;
  /** Kills the worker at each of the points, one after the other. */
  arm(points: readonly KillPoint[]): void;
  /** Something has happened that a point may count. */
  count(on: KillPoint['on'], amount?: number): void;
  /** Points that are still ahead. */
  readonly pointsLeft: number;
  /** Resolves when no worker is being killed or started. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

export async function startWorkerLane(): Promise<WorkerLane> {
  const redis = await startRedis();
  const dataDir = await mkdtemp(join(tmpdir(), 'popbridge-chaos-'));
  const api = await startService({ redis, dataDir, env: { POPBRIDGE_ROLE: 'api' } });
  const client = new Redis(redis.url);
  const start = () => startWorker({ redis, dataDir });
  let worker = start();
  await worker.ready;
  let points: KillPoint[] = [];
  let change: Promise<void> | null = null;

  async function replaceWorker(): Promise<void> {
    await worker.kill('SIGKILL');
    await expireLeases(client);
    await expireJobLocks(client);
    await expireDrainers(client);
    worker = start();
    await worker.ready;
    change = null;
  }

  function count(on: KillPoint['on'], amount = 1): void {
    const [point] = points;
    if (change !== null || point?.on !== on) return;
    point.after -= amount;
    if (point.after > 0) return;
    points.shift();
    change = replaceWorker();
    change.catch(() => undefined); // Whoever waits for it is told.
  }

  // A line for each command; a script counts as what it does, one by one.
  const monitor = connect(redis.socketPath);
  monitor.on('data', (lines: Buffer) => count('command', lines.filter((byte) => byte === 0x0a).length));
  monitor.write('MONITOR\r\n');

  return {
    api,
    count,
    arm(given) {
      points = given.map((point) => ({ ...point }));
    },
    get pointsLeft() {
      return points.length;
    },
    async settled() {
      await change;
    },
    async close() {
      await change?.catch(() => undefined);
      monitor.destroy();
      client.disconnect();
      await worker.kill('SIGTERM');
      await api.close();
      await redis.close();
      await rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}
