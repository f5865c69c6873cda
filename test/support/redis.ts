/** Real Redis servers for tests: each private, on a unix socket in a temporary folder, without the supervision of the product. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { describeSelf } from '../../src/redis/folder-owner.ts';
import { takeFolder } from '../../src/redis/handover.ts';
import { findRedisServer } from '../../src/redis/server-binary.ts';

/** The server that `npm start` in this checkout would use. The first call on a machine may unpack it into `./data`. */
export async function redisServerPath(): Promise<string> {
  return await findRedisServer({
    configuredPath: process.env['POPBRIDGE_REDIS_SERVER'],
    dataDir: fileURLToPath(new URL('../../data', import.meta.url)),
    env: process.env,
    onProgress: (text) => void process.stderr.write(`${text}\n`),
  });
}

export interface TestRedis {
  /** For `new Redis(url)` and for `REDIS_URL`: the socket's absolute path. */
  readonly url: string;
  readonly socketPath: string;
  /** Of the server that runs now. */
  readonly pid: number;
  /** Sends the signal and resolves when the server has ended. It stays down until `restart`. */
  kill(signal?: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** A server on the same AOF and socket; the one before is stopped first where it still runs. */
  restart(): Promise<void>;
  /** Stops the server and removes its folder. */
  close(): Promise<void>;
}

/** @param parent of its folder: the temporary folder unless given. */
export async function startRedis(parent = tmpdir()): Promise<TestRedis> {
  const folder = await mkdtemp(join(parent, 'popbridge-test-'));
  const socketPath = join(folder, 'redis.sock');
  const owner = await describeSelf(randomUUID(), folder, socketPath);
  const options = { serverPath: await redisServerPath(), folder, owner, logger: pino({ level: 'silent' }) };
  let server = await takeFolder(options);
  return {
    url: socketPath,
    socketPath,
    get pid() {
      return server.pid;
    },
    async kill(signal = 'SIGKILL') {
      process.kill(server.pid, signal);
      await server.exited;
    },
    async restart() {
      await server.stop();
      server = await takeFolder(options);
    },
    async close() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
