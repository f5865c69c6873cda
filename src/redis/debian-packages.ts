/**
 * Unpacks Redis from the Debian or Ubuntu packages of the machine's own apt sources into a folder, without root and without
 * installing anything. Apt resolves, downloads and checks the signatures as always; nothing here loosens that.
 */
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { toError } from '../errors.ts';
import { binaryLimits } from './limits.ts';
import { type Environment, runTool } from './tool.ts';

export interface UnpackOptions {
  /** Where the finished tree goes: `<folder>/bin/redis-server` is what to run. */
  folder: string;
  aptGet: string;
  dpkgDeb: string;
  env: Environment;
  /** Why the server at a path cannot be used, or undefined. */
  findFault: (path: string, env: Environment) => Promise<string | undefined>;
  onProgress: (text: string) => void;
}

const TRANSFER_OPTIONS = [
  'Acquire::Retries=2',
  `Acquire::http::Timeout=${binaryLimits.transferStallS}`,
  `Acquire::https::Timeout=${binaryLimits.transferStallS}`,
].flatMap((setting) => ['-o', setting]);

/** Leaves a server that runs at `<folder>/bin/redis-server`, its own or that of a process that was faster. */
export async function unpackDebianRedis(options: UnpackOptions): Promise<void> {
  const { folder, dpkgDeb, env, findFault, onProgress } = options;
  await mkdir(dirname(folder), { recursive: true });
  await removeAbandoned(`${folder}.new-`);
  const work = await mkdtemp(`${folder}.new-`);
  try {
    onProgress(`No Redis found: unpacking the distribution's own packages into ${folder} (once, without root)`);
    const packages = await downloadWithAnyLists(options, work);
    const tree = join(work, 'tree');
    await mkdir(tree);
    for (const path of packages) {
      await runTool(dpkgDeb, ['-x', path, join(tree, 'root')], { env, timeoutMs: binaryLimits.unpackTimeoutMs });
    }
    const server = await writeWrapper(tree);
    const fault = await findFault(server, env);
    if (fault !== undefined) throw new Error(`the unpacked server does not run: ${fault}`);
    await moveIntoPlace(tree, options, join(work, 'replaced'));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Work folders of processes that were killed while they unpacked. */
async function removeAbandoned(prefix: string): Promise<void> {
  const names = await readdir(dirname(prefix));
  const paths = names.map((name) => join(dirname(prefix), name)).filter((path) => path.startsWith(prefix));
  for (const path of paths) {
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Infinity }));
    if (Date.now() - mtimeMs > binaryLimits.abandonedAfterMs) await rm(path, { recursive: true, force: true });
  }
}

/** Paths of the packages. A fresh slim image has no package lists, and old lists name files that are gone: private ones help both. */
async function downloadWithAnyLists(options: UnpackOptions, work: string): Promise<string[]> {
  try {
    return await download(options, join(work, 'packages'), []);
  } catch (thrown) {
    const first = toError(thrown);
    options.onProgress('The package lists of this machine are missing or out of date: fetching private ones');
    const lists = join(work, 'lists');
    const cache = join(work, 'cache');
    await Promise.all([lists, cache].map((path) => mkdir(join(path, 'partial'), { recursive: true })));
    const privateLists = ['-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${cache}`];
    // One unreachable source among several fails the update, yet the others' lists may be all that is needed.
    const updateError = await apt(options, work, [...privateLists, 'update'], binaryLimits.downloadTimeoutMs).then(
      () => undefined,
      toError,
    );
    try {
      return await download(options, join(work, 'packages-again'), privateLists);
    } catch (again) {
      const reasons = [first, updateError, toError(again)].flatMap((error) => error?.message ?? []);
      throw new Error([...new Set(reasons)].join('; then '), { cause: again });
    }
  }
}

async function download(options: UnpackOptions, folder: string, lists: readonly string[]): Promise<string[]> {
  await mkdir(folder);
  const resolve = [...lists, 'install', '--simulate', '--no-install-recommends', 'redis-server'];
  const plan = await apt(options, folder, resolve, binaryLimits.resolveTimeoutMs);
  // One line "Inst NAME (VERSION ...)" for each package that is not installed yet: those, and no others, are missing.
  const names = [...plan.matchAll(/^Inst (\S+)/gm)].flatMap(([, name]) => name ?? []);
  if (names.length === 0) throw new Error('apt-get holds redis-server for installed, but it is not on PATH');
  await apt(options, folder, [...lists, 'download', ...names], binaryLimits.downloadTimeoutMs);
  return (await readdir(folder)).filter((name) => name.endsWith('.deb')).map((name) => join(folder, name));
}

async function apt(options: UnpackOptions, cwd: string, args: readonly string[], timeoutMs: number): Promise<string> {
  return await runTool(options.aptGet, [...TRANSFER_OPTIONS, ...args], { env: options.env, cwd, timeoutMs });
}

/**
 * `redis-server` is a link to a program that tells by its own name what it is to do, so it is run by that name; and its
 * libraries lie where the loader does not look. Paths are relative to the wrapper, so that the folder can be moved.
 */
async function writeWrapper(tree: string): Promise<string> {
  const files = await readdir(join(tree, 'root'), { recursive: true, withFileTypes: true });
  const libraries = files.filter((file) => !file.isDirectory() && /\.so(\.|$)/.test(file.name));
  const folders = new Set(libraries.map((file) => `$here/${relative(tree, file.parentPath)}`));
  const path = join(tree, 'bin', 'redis-server');
  await mkdir(dirname(path));
  const script = [
    '#!/bin/sh',
    '# Runs the unpacked redis-server with the libraries that were unpacked beside it.',
    'here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd) || exit 1',
    `LD_LIBRARY_PATH="${[...folders].join(':')}\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"`,
    'export LD_LIBRARY_PATH',
    'exec "$here/root/usr/bin/redis-server" "$@"',
    '',
  ].join('\n');
  await writeFile(path, script, { mode: 0o755 });
  return path;
}

/** A rename is all or nothing. It fails where another process was faster: its server is as good, unless it does not run. */
async function moveIntoPlace(tree: string, options: UnpackOptions, aside: string): Promise<void> {
  const { folder, env, findFault } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await rename(tree, folder);
      return;
    } catch (error) {
      if ((await findFault(join(folder, 'bin', 'redis-server'), env)) === undefined) return;
      if (attempt === binaryLimits.moveAttemptsMax) throw error;
      // Fails where another process has just done the same, which leaves the place as free.
      await rename(folder, `${aside}-${attempt}`).catch(() => {});
    }
  }
}
