/** The kinds of Redis that popbridge runs on, by name. */
import { startAlone, startCluster, startSentinels, type RedisGroup } from './redis-nodes.ts';
import { valkeyPath } from './valkey.ts';

export async function startRedisKind(kind: string): Promise<RedisGroup> {
  if (kind === 'cluster') return startCluster();
  if (kind === 'sentinel') return startSentinels();
  if (kind === 'valkey') return startAlone({ serverPath: valkeyPath() });
  throw new Error(`${kind} is no kind of Redis that tests know`);
}
