/**
 * Runs once before all test files: finds the Redis server, or unpacks it, and gives Node a folder for what it has compiled, as the
 * service is started hundreds of times. Every worker, and what it starts, inherits where they are.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisServerPath } from './redis.ts';

export async function setup(): Promise<() => Promise<void>> {
  process.env['POPBRIDGE_REDIS_SERVER'] = await redisServerPath();
  const compiled = await mkdtemp(join(tmpdir(), 'popbridge-compiled-'));
  process.env['NODE_COMPILE_CACHE'] = compiled;
  return () => rm(compiled, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
