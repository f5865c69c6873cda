import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/redis/embedded.ts';
import { findTool } from '../../src/redis/tool.ts';
import { redisServerPath } from '../support/redis.ts';

const FIXTURE = fileURLToPath(new URL('embedded-parent.ts', import.meta.url));
const flock = await findTool('flock', process.env);
const hasProc = existsSync('/proc/self/stat');

let serverPath: string;
let dataDir: string;
let cleanups: (() => unknown)[];

beforeAll(async () => {
  serverPath = await redisServerPath();
});

beforeEach(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  dataDir = folder;
  cleanups = [() => rm(folder, { recursive: true, force: true, maxRetries: 20 })];
});

afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

async function start(options: { dataDir?: string; serverPath?: string; log?: string[] } = {}): Promise<EmbeddedRedis> {
  const { log = [], ...rest } = options;
  const logger = pino({ level: 'debug' }, { write: (line) => void log.push(line) });
  const redis = await startEmbeddedRedis({ serverPath, dataDir, ...rest, logger });
  cleanups.push(() => redis.close());
  return redis;
}

/** A client as the service uses it: it reconnects by itself. */
function connect(path: string): Redis {
  const redis = new Redis({ path, retryStrategy: () => 20, maxRetriesPerRequest: null });
  redis.on('error', () => {});
  cleanups.push(() => redis.disconnect());
  return redis;
}

async function serverPid(redis: Redis): Promise<number> {
  return Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1]);
}

/** Another popbridge in a process of its own, as a terminal would run it: in a process group of its own. */
async function startParent(
  env = process.env,
): Promise<{ parent: ChildProcessByStdio<null, Readable, null>; socketPath: string }> {
  const parent = spawn(process.execPath, [FIXTURE, serverPath, dataDir], {
    detached: true,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanups.push(() => parent.kill('SIGKILL'));
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  return { parent, socketPath: line.toString().trim() };
}

async function killParent(parent: ChildProcess): Promise<void> {
  const exited = once(parent, 'exit');
  parent.kill('SIGKILL');
  await exited;
}

/** A process that ended counts as ended even where nobody has asked for its exit code yet (a zombie). */
async function isRunning(pid: number): Promise<boolean> {
  if (hasProc) return (await readProcess(pid)) !== undefined;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function readProcess(pid: number): Promise<{ pid: number; sessionId: number } | undefined> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  const [state, , , sessionId] = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return line === '' || state === 'Z' ? undefined : { pid, sessionId: Number(sessionId) };
}

async function waitUntilEnded(pid: number): Promise<void> {
  await vi.waitFor(async () => expect(await isRunning(pid)).toBe(false), { timeout: 10_000 });
}

/** The processes that a server has with it: they are a session of their own. Empty where there is no /proc to tell. */
async function listCompanions(serverPid: number): Promise<number[]> {
  const names = await readdir('/proc').catch(() => []);
  const all = await Promise.all(names.filter((name) => /^\d+$/.test(name)).map((name) => readProcess(Number(name))));
  return all.flatMap((found) => (found?.sessionId === serverPid && found.pid !== serverPid ? [found.pid] : []));
}

async function isLocked(folder: string): Promise<boolean> {
  const child = spawn(flock ?? '', ['-n', join(folder, 'lock'), 'echo', 'free'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return (await text(child.stdout)).trim() !== 'free';
}

describe('the settings of the embedded server', () => {
  test('it listens on a unix socket only, in a folder that no other user can open', async () => {
    const { socketPath } = await start();
    const redis = connect(socketPath);
    expect(dirname(socketPath)).toBe(join(dataDir, 'redis'));
    expect(await redis.config('GET', 'port')).toEqual(['port', '0']);
    expect((await stat(socketPath)).mode & 0o777).toBe(0o700);
    expect((await stat(join(dataDir, 'redis'))).mode & 0o777).toBe(0o700);
  });

  test('a folder that others could open before is closed to them', async () => {
    await mkdir(join(dataDir, 'redis'), { mode: 0o755 });
    await start();
    expect((await stat(join(dataDir, 'redis'))).mode & 0o777).toBe(0o700);
  });

  test('it appends every write to a file, synced every second, and evicts nothing', async () => {
    const redis = connect((await start()).socketPath);
    expect(await redis.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
    expect(await redis.config('GET', 'appendfsync')).toEqual(['appendfsync', 'everysec']);
    expect(await redis.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
    expect(await redis.config('GET', 'save')).toEqual(['save', '']);
  });

  test('a data folder whose path is too long for a socket gets it in a private temporary folder, removed on close', async () => {
    const deep = join(dataDir, 'd'.repeat(120));
    const embedded = await start({ dataDir: deep });
    const folder = dirname(embedded.socketPath);
    expect(embedded.socketPath.startsWith(tmpdir())).toBe(true);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect(await connect(embedded.socketPath).ping()).toBe('PONG');
    await embedded.close();
    expect(existsSync(folder)).toBe(false);
    expect(existsSync(join(deep, 'redis', 'appendonlydir'))).toBe(true);
  });
});

describe('the data of the embedded server', () => {
  test('what was written is found after close and start', async () => {
    const first = await start();
    await connect(first.socketPath).set('key', 'value');
    await first.close();
    expect(await connect((await start()).socketPath).get('key')).toBe('value');
  });

  test('it is there after the server died unexpectedly: it is restarted on the same socket and clients reconnect', async () => {
    const log: string[] = [];
    const redis = connect((await start({ log })).socketPath);
    for (const round of [1, 2]) {
      await redis.set(`key ${round}`, 'value');
      const pid = await serverPid(redis);
      process.kill(pid, 'SIGKILL');
      expect(await redis.get(`key ${round}`)).toBe('value');
      expect(await serverPid(redis)).not.toBe(pid);
      await vi.waitFor(() => expect(log.filter((line) => line.includes('is ready again'))).toHaveLength(round));
    }
    const errors = log
      .map((line) => JSON.parse(line) as { level: number; ended?: string })
      .filter((e) => e.level >= 50);
    expect(errors.map((error) => error.ended)).toEqual(['signal SIGKILL', 'signal SIGKILL']);
  });

  test('a start that fails says why in the words of the server', async () => {
    const first = await start();
    await connect(first.socketPath).set('key', 'value');
    await first.close();
    const aofFolder = join(dataDir, 'redis', 'appendonlydir');
    const aof = (await readdir(aofFolder)).find((name) => name.endsWith('.incr.aof'))!;
    await writeFile(join(aofFolder, aof), 'this is no AOF\r\n'.repeat(10));
    await expect(start()).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringMatching(/redis.*did not start: it ended with code 1.*Bad file format/s) as string,
    });
  });

  test('a server that cannot be run is named in the error', async () => {
    await expect(start({ serverPath: '/nonexistent/redis-server' })).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringContaining('/nonexistent/redis-server') as string,
    });
  });

  test('a data folder that cannot be made is refused', async () => {
    await writeFile(join(dataDir, 'file'), '');
    await expect(start({ dataDir: join(dataDir, 'file') })).rejects.toMatchObject({ code: 'invalid_config' });
  });
});

describe('closing', () => {
  test('close ends the server and its watcher, and may be called twice', async () => {
    const embedded = await start();
    const pid = await serverPid(connect(embedded.socketPath));
    await Promise.all([embedded.close(), embedded.close()]);
    expect(await isRunning(pid)).toBe(false);
    await vi.waitFor(async () => expect(await listCompanions(pid)).toEqual([]));
    await embedded.close();
  });

  test('close while the server is being restarted leaves none running', async () => {
    const embedded = await start();
    const pid = await serverPid(connect(embedded.socketPath));
    process.kill(pid, 'SIGKILL');
    await waitUntilEnded(pid);
    await embedded.close();
    const again = await start();
    expect(await connect(again.socketPath).ping()).toBe('PONG');
  });

  test('the server ends when its popbridge is killed by SIGKILL, and a start at once finds the data', async () => {
    const { parent, socketPath } = await startParent();
    const redis = connect(socketPath);
    await redis.set('key', 'value');
    const pid = await serverPid(redis);
    redis.disconnect();

    await killParent(parent);
    const again = connect((await start()).socketPath);
    expect(await again.get('key')).toBe('value');
    expect(await serverPid(again)).not.toBe(pid);
    expect(await isRunning(pid)).toBe(false);
    await vi.waitFor(async () => expect(await listCompanions(pid)).toEqual([]));
  });

  test.skipIf(!hasProc)(
    'a server whose popbridge and watcher were both killed is ended by the next start',
    async () => {
      const { parent, socketPath } = await startParent();
      const redis = connect(socketPath);
      await redis.set('key', 'value');
      const pid = await serverPid(redis);
      redis.disconnect();
      const watchers = await listCompanions(pid);
      expect(watchers).not.toEqual([]);
      for (const watcher of watchers) process.kill(watcher, 'SIGKILL');
      await killParent(parent);
      expect(await isRunning(pid)).toBe(true);

      const again = connect((await start()).socketPath);
      expect(await again.get('key')).toBe('value');
      expect(await isRunning(pid)).toBe(false);
    },
  );

  test('Ctrl-C in a terminal, a signal to the whole process group of its popbridge, does not reach the server', async () => {
    const { parent, socketPath } = await startParent();
    const redis = connect(socketPath);
    const pid = await serverPid(redis);
    process.kill(-(parent.pid ?? Number.NaN), 'SIGINT');
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    expect(line.toString()).toBe('interrupted\n');
    expect(await serverPid(redis)).toBe(pid);
  });
});

describe('two on one folder', () => {
  test('a second start is refused at once, naming the folder and the process that owns it', async () => {
    const { parent, socketPath } = await startParent();
    const startedAt = performance.now();
    await expect(start()).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(
        new RegExp(`${join(dataDir, 'redis')} .*popbridge process ${parent.pid}\\..*POPBRIDGE_DATA_DIR`),
      ) as string,
    });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(await connect(socketPath).ping()).toBe('PONG');
  });

  test('a second start in the same process is refused as well', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({ code: 'invalid_config', fields: { ownerPid: process.pid } });
  });

  test('of two that start at the same time one is refused and the other runs', async () => {
    const results = await Promise.allSettled([start(), start()]);
    expect(results.map((result) => result.status).toSorted()).toEqual(['fulfilled', 'rejected']);
    const winner = results.find((result) => result.status === 'fulfilled');
    expect(await connect(winner!.value.socketPath).ping()).toBe('PONG');
  });

  test.skipIf(flock === undefined)('the lock on the folder is held exactly as long as the server lives', async () => {
    const embedded = await start();
    expect(await isLocked(join(dataDir, 'redis'))).toBe(true);
    await embedded.close();
    expect(await isLocked(join(dataDir, 'redis'))).toBe(false);
  });

  test('a copy of a folder in use is a folder of its own', async () => {
    await connect((await start()).socketPath).set('key', 'value');
    const copy = join(dataDir, 'copy');
    await cp(join(dataDir, 'redis'), join(copy, 'redis'), {
      recursive: true,
      filter: (path) => !path.endsWith('.sock'),
    });
    expect(await connect((await start({ dataDir: copy })).socketPath).get('key')).toBe('value');
  });

  test('where there is no flock, the live server is known by its answer', async () => {
    const bin = join(dataDir, 'bin');
    await mkdir(bin);
    for (const name of ['cat', 'dirname']) await symlink((await findTool(name, process.env))!, join(bin, name));
    const { parent, socketPath } = await startParent({ PATH: bin });
    await expect(start()).rejects.toMatchObject({ code: 'invalid_config', fields: { ownerPid: parent.pid } });
    const redis = connect(socketPath);
    const pid = await serverPid(redis);
    redis.disconnect();
    await killParent(parent);
    await waitUntilEnded(pid);
    expect(await connect((await start()).socketPath).ping()).toBe('PONG');
  });
});
