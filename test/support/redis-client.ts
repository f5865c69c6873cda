/** What tests themselves ask of a group of servers, over the connections that popbridge would make. */
import { pino } from 'pino';
import { readConfig } from '../../src/config/config.ts';
import { mastersOf, type RedisClient } from '../../src/redis/client.ts';
import { connectRedis, openRedis } from '../../src/redis/connection.ts';
import { readPlace, type RedisPlace } from '../../src/redis/place.ts';
import type { RedisGroup } from './redis-nodes.ts';
import { serviceEnv } from './service.ts';

export async function placeOf(group: Pick<RedisGroup, 'env'>): Promise<RedisPlace> {
  return readPlace(readConfig(serviceEnv('/nowhere', group)).redis!);
}

export async function connectTo(group: Pick<RedisGroup, 'env'>): Promise<RedisClient> {
  const place = await placeOf(group);
  const client = openRedis(place, pino({ level: 'silent' }));
  await connectRedis(client, place);
  return client;
}

/** On whatever master they are. */
export async function findKeys(client: RedisClient, pattern: string): Promise<string[]> {
  return (await Promise.all([...mastersOf(client).values()].map(({ redis }) => redis.keys(pattern)))).flat();
}
