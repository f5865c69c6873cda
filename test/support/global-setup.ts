/** Runs once before all test files: finds the Redis server, or unpacks it, and tells every worker where it is. */
import { redisServerPath } from './redis.ts';

export async function setup(): Promise<void> {
  process.env['POPBRIDGE_REDIS_SERVER'] = await redisServerPath();
}
