/** A connection to a Redis Cluster of which a node stands still: alive by all that a connection shows, and without an answer. */
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { openBlockingRedis } from '../../src/redis/connection.ts';
import { placeOf } from '../support/redis-client.ts';
import { startCluster } from '../support/redis-nodes.ts';

/** Of so many, some ask the one that stands still how the cluster is. */
const CONNECTIONS = 20;
/** The failover, and once more what it takes to give a node up. */
const WAIT_MS = 30_000;

test('is made while a master stands still: it comes to use all the same', { timeout: 60_000 }, async () => {
  const group = await startCluster();
  onTestFinished(() => group.close());
  const place = await placeOf(group);
  const [master] = await group.masters();
  master?.freeze();
  const clients = Array.from({ length: CONNECTIONS }, () => openBlockingRedis(place, pino({ level: 'silent' })));
  onTestFinished(() => clients.forEach((client) => client.disconnect()));
  const late = new AbortController();
  const answers = await Promise.all(
    clients.map((client) => Promise.race([client.get('key'), delay(WAIT_MS, 'no answer', { signal: late.signal })])),
  );
  late.abort();
  expect(answers).toEqual(clients.map(() => null));
});
