/** One test's Redis as the replica of another. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { Redis } from 'ioredis';
import type { TestRedis } from './redis.ts';
import { eventually } from './service.ts';

/**
 * Resolves when the replica has caught up.
 * @param way a port that leads to the master; one that the master opens unless given.
 */
export async function replicate(master: TestRedis, replica: TestRedis, way?: number): Promise<void> {
  const [from, to] = [new Redis(master.url), new Redis(replica.url)];
  try {
    // Replication is by TCP alone, on which servers of tests do not listen.
    const port = way ?? (await findFreePort());
    if (way === undefined) await from.config('SET', 'port', port);
    await from.config('SET', 'repl-diskless-sync-delay', 0);
    await to.replicaof('127.0.0.1', port);
    await eventually(
      () => from.info('replication'),
      (info) => info.includes('state=online'),
    );
  } finally {
    from.disconnect();
    to.disconnect();
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
