/**
 * One private Redis server as a child process: on a unix socket only, locked to its folder, ended with its parent
 * whatever way the parent dies. Starting it again, and whose turn it is in a folder, is for others to decide.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { AppError } from '../errors.ts';
import { type FolderOwner, ownerFile, readOwner } from './folder-owner.ts';
import { serverLimits } from './limits.ts';
import { probe } from './socket-probe.ts';

export interface ServerOptions {
  serverPath: string;
  /** Absolute; exists; holds the AOF, the log, the lock and the owner's record. */
  folder: string;
  owner: FolderOwner;
  logger: Logger;
  /** Ends a start that is under way. */
  signal?: AbortSignal;
}

export interface ServerProcess {
  readonly pid: number;
  /** Resolves, never rejects, with how it ended: "code 1", "signal SIGKILL". */
  readonly exited: Promise<string>;
  /** Resolves when it has ended: AOF flushed and synced, or killed for taking too long. */
  stop(): Promise<void>;
}

/** Exit code of the start script: another server holds the lock. */
const LOCKED = 75;

/**
 * $1 is the lock, $2 the owner's record, $3 its text; the server's command line follows.
 *
 * - Descriptor 9 carries the lock into the server, which never closes it: locked exactly as long as the server lives.
 * - The background part waits for the end of standard input, a pipe whose other end only popbridge holds, and then ends
 *   the process group. The group is the server's own (`detached`), so the number cannot have passed to strangers, and
 *   Ctrl-C in a terminal does not reach the server before popbridge has drained.
 * - `exec` makes the server the child itself, so that its pid and exit are seen by popbridge directly.
 */
const START_SCRIPT = `
exec 3<&0 9>>"$1"
if command -v flock >/dev/null; then
  flock -n 9 || { [ $? = 1 ] && exit ${LOCKED}; exit 1; }
fi
printf '%s' "$3" >"$2" || exit 1
shift 3
{ cat <&3 >/dev/null; kill -TERM 0; } 9>&- &
exec "$@" </dev/null 3<&-
`;

/**
 * Resolves when the server answers PONG, or with undefined where another server holds the folder's lock.
 * Throws `storage_unavailable` with the end of the server's log where it ends or is not ready in time.
 */
export async function startServer(options: ServerOptions): Promise<ServerProcess | undefined> {
  const { serverPath, folder, owner, logger, signal } = options;
  signal?.throwIfAborted();
  const log = await openLog(folder);
  const script = [join(folder, 'lock'), ownerFile(folder), JSON.stringify(owner)];
  const command = [serverPath, ...serverFlags(folder, owner.socketPath)];
  const child = spawn('/bin/sh', ['-c', START_SCRIPT, 'popbridge-redis', ...script, ...command], {
    cwd: folder,
    detached: true,
    stdio: ['pipe', log.file.fd, log.file.fd],
  });
  const server = followChild(child, logger);
  try {
    await once(child, 'spawn');
  } finally {
    await log.file.close();
  }
  try {
    const ended = await waitUntilReady(server, options, log);
    if (ended === undefined) return server;
    if (ended === `code ${LOCKED}`) return undefined;
    throw await startError(folder, `it ended with ${ended}`, log);
  } catch (thrown) {
    await server.stop();
    throw thrown;
  }
}

function serverFlags(folder: string, socketPath: string): string[] {
  const settings = {
    port: '0',
    unixsocket: socketPath,
    unixsocketperm: '700',
    dir: folder,
    daemonize: 'no',
    appendonly: 'yes',
    appendfsync: 'everysec',
    save: '',
    'maxmemory-policy': 'noeviction',
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

function followChild(child: ChildProcess, logger: Logger): ServerProcess {
  // Nothing is ever written to it, so an error only says that the other end is gone, which the exit tells as well.
  child.stdin?.on('error', () => {});
  const exited = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal === null ? `code ${code}` : `signal ${signal}`));
  });
  const signalGroup = (signal: NodeJS.Signals) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    try {
      process.kill(-child.pid, signal);
    } catch {
      // It has ended this instant, and 'exit' is about to say so.
    }
  };
  return {
    pid: child.pid ?? Number.NaN,
    exited,
    async stop() {
      signalGroup('SIGTERM');
      const killer = setTimeout(() => {
        logger.warn({ serverPid: child.pid }, 'the embedded Redis did not end in time and is killed');
        signalGroup('SIGKILL');
      }, serverLimits.stopTimeoutMs);
      await exited;
      clearTimeout(killer);
    },
  };
}

/** Resolves with undefined when the server is ready, else with how it ended before it was. */
async function waitUntilReady(
  server: ServerProcess,
  options: ServerOptions,
  log: ServerLog,
): Promise<string | undefined> {
  const { folder, owner, logger, signal } = options;
  const startedAt = performance.now();
  let noticeAfterMs: number = serverLimits.loadingNoticeEveryMs;
  for (;;) {
    const ended = await Promise.race([server.exited, delay(serverLimits.readyPollMs, undefined, { signal })]);
    if (ended !== undefined) return ended;
    // Until the record is ours, whoever answers on the socket is the server before.
    const isOurs = (await readOwner(folder))?.id === owner.id;
    if (isOurs && (await probe(owner.socketPath)) === 'ready') return undefined;

    const waitedMs = Math.round(performance.now() - startedAt);
    if (waitedMs > serverLimits.readyTimeoutMs) {
      throw await startError(folder, `it was not ready after ${waitedMs} ms`, log);
    }
    if (waitedMs > noticeAfterMs) {
      noticeAfterMs += serverLimits.loadingNoticeEveryMs;
      logger.info({ folder, waitedMs }, 'the embedded Redis is loading its data');
    }
  }
}

async function startError(folder: string, what: string, log: ServerLog): Promise<AppError> {
  const logTail = await log.readTail();
  const said = logTail === '' ? '' : ` Its last words: ${logTail}`;
  return new AppError(
    'storage_unavailable',
    `The embedded Redis in ${folder} did not start: ${what}. See redis-server.log there.${said}`,
  );
}

interface ServerLog {
  file: FileHandle;
  /** The end of what was written since it was opened. */
  readTail(): Promise<string>;
}

/** The server and its start script append to one file; what an earlier start left is set aside once it has grown. */
async function openLog(folder: string): Promise<ServerLog> {
  const path = join(folder, 'redis-server.log');
  const sizeBefore = await stat(path).then(
    ({ size }) => size,
    () => 0,
  );
  const isFull = sizeBefore > serverLimits.logBytesMax;
  if (isFull) await rename(path, `${path}.1`);
  const begin = isFull ? 0 : sizeBefore;
  const file = await open(path, 'a+', 0o600);
  return {
    file,
    async readTail(): Promise<string> {
      const { size } = await stat(path);
      const from = Math.max(begin, size - serverLimits.logTailBytesMax);
      const reader = await open(path, 'r');
      try {
        const { buffer, bytesRead } = await reader.read(Buffer.alloc(size - from), 0, size - from, from);
        return buffer.toString('utf8', 0, bytesRead).trim();
      } finally {
        await reader.close();
      }
    },
  };
}
