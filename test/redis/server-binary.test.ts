import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findRedisServer } from '../../src/redis/server-binary.ts';
import { findTool } from '../../src/redis/tool.ts';

let folder: string;
let dataDir: string;
let bin: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  dataDir = join(folder, 'data');
  bin = join(folder, 'bin');
  await mkdir(bin);
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A program that answers `--version` as a server does; of the order of lookup no more is asked. */
async function placeServer(path: string, says = 'Redis server v=7.0.15 sha=00000000:0'): Promise<string> {
  return await placeScript(path, `echo '${says}'`);
}

async function placeScript(path: string, body: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

describe('where the server is looked for', () => {
  test('the configured path comes first, then redis-server and valkey-server on PATH, then the data folder', async () => {
    const configured = await placeServer(join(folder, 'mine'));
    const redis = await placeServer(join(bin, 'redis-server'));
    const valkey = await placeServer(join(bin, 'valkey-server'), 'Valkey server v=8.1.1 sha=00000000:0');
    const unpacked = await placeServer(join(dataDir, 'redis-server', 'bin', 'redis-server'));
    const env = { PATH: bin };

    expect(await findRedisServer({ configuredPath: configured, dataDir, env })).toBe(configured);
    expect(await findRedisServer({ dataDir, env })).toBe(redis);
    await rm(redis);
    expect(await findRedisServer({ dataDir, env })).toBe(valkey);
    await rm(valkey);
    expect(await findRedisServer({ dataDir, env })).toBe(unpacked);
  });

  test('one on PATH that does not run is passed over', async () => {
    await placeScript(join(bin, 'redis-server'), 'echo "error while loading shared libraries" >&2; exit 127');
    const valkey = await placeServer(join(bin, 'valkey-server'), 'Valkey server v=8.1.1 sha=00000000:0');
    expect(await findRedisServer({ dataDir, env: { PATH: bin } })).toBe(valkey);
  });

  test('an empty or relative entry of PATH runs nothing from the working folder', async () => {
    await placeServer(join(bin, 'redis-server'));
    const relative = join('..', bin);
    await expect(findRedisServer({ dataDir, env: { PATH: `:${relative}:.` } })).rejects.toThrow('none was found');
  });

  test.each([
    ['is missing', async (_path: string) => {}, 'no such file'],
    ['is not executable', async (path: string) => await writeFile(path, 'text'), 'not an executable file'],
    ['is another program', async (path: string) => void (await placeServer(path, 'v=1 of something')), '--version'],
    ['fails', async (path: string) => void (await placeScript(path, 'echo broken >&2; exit 1')), 'broken'],
  ])('a configured server that %s is refused, whatever is on PATH', async (_what, place, reason) => {
    await placeServer(join(bin, 'redis-server'));
    const configuredPath = join(folder, 'configured');
    await place(configuredPath);
    await expect(findRedisServer({ configuredPath, dataDir, env: { PATH: bin } })).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(new RegExp(`^POPBRIDGE_REDIS_SERVER .*${configuredPath}.*${reason}`)) as string,
    });
  });
});

describe('where there is none', () => {
  test.each([
    ['apt-get', 'sudo apt-get install redis-server'],
    ['dnf', 'sudo dnf install valkey'],
    ['apk', 'apk add redis'],
    ['pacman', 'sudo pacman -S valkey'],
    ['brew', 'brew install redis'],
  ])('with %s the error names the one command: %s', async (manager, command) => {
    await placeScript(join(bin, manager), 'exit 1');
    await expect(findRedisServer({ dataDir, env: { PATH: bin } })).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(
        new RegExp(`no redis-server on PATH; no valkey-server on PATH.* Run: ${command}, or set REDIS_URL`),
      ) as string,
    });
  });

  test('without any package manager the error still says what to do', async () => {
    await expect(findRedisServer({ dataDir, env: { PATH: bin } })).rejects.toThrow(
      'Install redis-server or valkey-server, or set REDIS_URL',
    );
  });

  test('packages that cannot be had are the reason given, and nothing is left behind, nor what a killed process left', async () => {
    const abandoned = join(dataDir, 'redis-server.new-1');
    await mkdir(join(abandoned, 'packages'), { recursive: true });
    await utimes(abandoned, 0, 0);
    await mkdir(join(dataDir, 'redis-server.new-2'));
    await placeScript(join(bin, 'apt-get'), 'echo "E: Unable to locate package redis-server" >&2; exit 100');
    await placeScript(join(bin, 'dpkg-deb'), 'exit 1');
    await expect(findRedisServer({ dataDir, env: { PATH: bin } })).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(
        /Unable to locate package redis-server.*sudo apt-get install redis-server/,
      ) as string,
    });
    // The second one is young: another process may be at work in it.
    expect(await readdir(dataDir)).toEqual(['redis-server.new-2']);
  });
});

/** PATH with all that is installed here but Redis: apt calls many tools, not least the one that checks signatures. */
async function pathWithoutRedis(): Promise<string> {
  const tools = (await readdir('/usr/bin')).filter((name) => !/^(redis|valkey)-/.test(name));
  await Promise.all(tools.map((name) => symlink(join('/usr/bin', name), join(bin, name))));
  return bin;
}

/** Apt's view of a machine on which Redis is not installed, and with these package lists. */
async function aptConfig(lists?: string): Promise<string> {
  const installed = await readFile('/var/lib/dpkg/status', 'utf8');
  const others = installed.split('\n\n').filter((entry) => !/^Package: (redis|libjemalloc2|liblzf1)/.test(entry));
  await writeFile(join(folder, 'status'), others.join('\n\n'));
  const settings = [`Dir::State::status "${join(folder, 'status')}";`];
  if (lists !== undefined) settings.push(`Dir::State::lists "${lists}";`);
  const path = join(folder, 'apt.conf');
  await writeFile(path, settings.join('\n'));
  return path;
}

const aptGet = await findTool('apt-get', process.env);
const skipped = aptGet === undefined ? ' (SKIPPED: this machine has no apt-get)' : '';

describe.skipIf(aptGet === undefined)(`unpacking the distribution's packages${skipped}`, { timeout: 240_000 }, () => {
  test('two that start at once where there are no package lists both get a server that runs, in a folder that may move', async () => {
    const lists = join(folder, 'empty');
    await mkdir(join(lists, 'partial'), { recursive: true });
    const env = { ...process.env, PATH: await pathWithoutRedis(), APT_CONFIG: await aptConfig(lists) };
    const progress: string[] = [];
    const search = { dataDir, env, onProgress: (text: string) => void progress.push(text) };
    const paths = await Promise.all([findRedisServer(search), findRedisServer(search)]);

    const unpacked = join(dataDir, 'redis-server', 'bin', 'redis-server');
    expect(paths).toEqual([unpacked, unpacked]);
    expect(await readdir(dataDir)).toEqual(['redis-server']);
    expect(progress.join('\n')).toContain('fetching private ones');
    await rename(dataDir, join(folder, 'moved'));
    const moved = spawnSync(join(folder, 'moved', 'redis-server', 'bin', 'redis-server'), ['--version']);
    expect(moved.stdout.toString()).toMatch(/^(Redis|Valkey) server v=\d/);
  });

  test('an unpacked server that no longer runs is replaced', async () => {
    const env = { ...process.env, PATH: await pathWithoutRedis(), APT_CONFIG: await aptConfig() };
    const path = await placeScript(join(dataDir, 'redis-server', 'bin', 'redis-server'), 'exit 1');
    expect(await findRedisServer({ dataDir, env })).toBe(path);
    expect(spawnSync(path, ['--version']).stdout.toString()).toMatch(/server v=\d/);
    expect(await readdir(dataDir)).toEqual(['redis-server']);
  });
});
