/** Commands that are sent in one turn of the event loop go out in one write: to write each by itself takes longer than most commands. */
import { Cluster, type Redis } from 'ioredis';
import type { Duplex } from 'node:stream';
import type { RedisClient } from './client.ts';

export function gatherWrites(client: RedisClient): void {
  if (client instanceof Cluster) client.on('+node', gatherOfServer);
  else gatherOfServer(client);
}

function gatherOfServer(redis: Redis): void {
  redis.on('connect', () => gatherOf(redis.stream));
}

function gatherOf(stream: Duplex): void {
  const write = stream.write.bind(stream);
  const end = stream.end.bind(stream);
  let gathered: (string | Buffer)[] = [];
  const send = (): void => {
    const chunks = gathered;
    gathered = [];
    if (chunks.length === 0) return;
    if (chunks.every((chunk) => typeof chunk === 'string')) write(chunks.join(''));
    else write(Buffer.concat(chunks.map((chunk) => (typeof chunk === 'string' ? Buffer.from(chunk) : chunk))));
  };
  stream.write = (chunk: string | Buffer): boolean => {
    if (gathered.push(chunk) === 1) setImmediate(send);
    return !stream.writableNeedDrain;
  };
  stream.end = (): Duplex => {
    send();
    return end();
  };
}
