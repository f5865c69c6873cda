/**
 * The embedded Redis: a private server for one popbridge, its data in `<dataDir>/redis`, kept running until closed.
 *
 * Two servers never share a folder (`handover.ts`), and none outlives its popbridge (`server-process.ts`). Connections
 * for use are made elsewhere, on `socketPath`, and survive a restart of the server by reconnecting.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { AppError, toError } from '../errors.ts';
import { describeSelf } from './folder-owner.ts';
import { takeFolder } from './handover.ts';
import { restartLimits, serverLimits } from './limits.ts';
import type { ServerOptions, ServerProcess } from './server-process.ts';

export interface EmbeddedRedisOptions {
  /** From `findRedisServer`. */
  serverPath: string;
  dataDir: string;
  logger: Logger;
}

export interface EmbeddedRedis {
  /** Stays the same when the server is restarted. */
  readonly socketPath: string;
  /** Resolves when the server has ended with everything on disk. May be called again. */
  close(): Promise<void>;
}

/**
 * Resolves when the server answers. Throws `invalid_config` where the folder belongs to another popbridge that runs,
 * `storage_unavailable` where the server does not start.
 */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const { serverPath, logger } = options;
  const folder = resolve(options.dataDir, 'redis');
  await prepareFolder(folder);
  const socketPath = await chooseSocketPath(folder);
  const removeSocketFolder = async () => {
    if (dirname(socketPath) !== folder) await rm(dirname(socketPath), { recursive: true, force: true });
  };

  const closing = new AbortController();
  const owner = await describeSelf(randomUUID(), folder, socketPath);
  const server: ServerOptions = { serverPath, folder, owner, logger, signal: closing.signal };
  try {
    const first = await takeFolder(server);
    logger.info({ folder, serverPath, serverPid: first.pid }, 'the embedded Redis is ready');
    const supervision = superviseServer(first, server, closing.signal);
    return {
      socketPath,
      async close() {
        closing.abort();
        await supervision;
        await removeSocketFolder();
      },
    };
  } catch (thrown) {
    await removeSocketFolder();
    throw thrown;
  }
}

async function prepareFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o700);
  } catch (cause) {
    const reason = toError(cause).message;
    throw new AppError(
      'invalid_config',
      `The folder ${folder} cannot be made or used (${reason}). Set POPBRIDGE_DATA_DIR to a folder that can be written.`,
      { cause },
    );
  }
}

/** In the folder, or in a private temporary one where that path is too long for a socket's address. */
async function chooseSocketPath(folder: string): Promise<string> {
  const path = join(folder, 'redis.sock');
  if (Buffer.byteLength(path) <= serverLimits.socketPathBytesMax) return path;
  return join(await mkdtemp(join(tmpdir(), 'popbridge-redis-')), 'redis.sock');
}

/** Resolves when the signal is given and the server has ended; never rejects. */
async function superviseServer(first: ServerProcess, options: ServerOptions, signal: AbortSignal): Promise<void> {
  const closed = once(signal, 'abort');
  let server: ServerProcess | undefined = first;
  let delayMs: number = restartLimits.delayMsMin;
  while (server !== undefined) {
    const startedAt = performance.now();
    const ended = await Promise.race([server.exited, closed]);
    if (signal.aborted) return await server.stop();
    if (performance.now() - startedAt > restartLimits.stableAfterMs) delayMs = restartLimits.delayMsMin;
    options.logger.error(
      { ended, folder: options.folder },
      'the embedded Redis ended unexpectedly and is started again',
    );
    ({ server, delayMs } = await restartServer(options, signal, delayMs));
  }
}

/** No server where the signal was given meanwhile. */
async function restartServer(options: ServerOptions, signal: AbortSignal, firstDelayMs: number) {
  for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 2, restartLimits.delayMsMax)) {
    try {
      await delay(delayMs, undefined, { signal });
      const server = await takeFolder(options);
      options.logger.info({ serverPid: server.pid }, 'the embedded Redis is ready again');
      return { server, delayMs: Math.min(delayMs * 2, restartLimits.delayMsMax) };
    } catch (error) {
      if (signal.aborted) return { server: undefined, delayMs };
      options.logger.error({ err: error }, 'the embedded Redis could not be started again; trying further');
    }
  }
}
