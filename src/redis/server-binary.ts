/**
 * Finds the program that the embedded Redis runs: the configured one, else one on PATH, else one that was unpacked
 * into the data folder, where on Debian and Ubuntu it is put from the distribution's own signed packages, without root.
 *
 * It never installs anything on the system and starts no server; that is `embedded.ts`.
 */
import { join, resolve } from 'node:path';
import { AppError, toError } from '../errors.ts';
import { unpackDebianRedis } from './debian-packages.ts';
import { binaryLimits } from './limits.ts';
import { type Environment, findTool, runTool } from './tool.ts';

export interface ServerSearch {
  /** `POPBRIDGE_REDIS_SERVER`: where set, nothing else is looked at. */
  configuredPath?: string | undefined;
  dataDir: string;
  /** The service's environment: `PATH` is searched; all of it goes to the programs that are run. */
  env: Environment;
  /** Told in a sentence what takes long. */
  onProgress?: (text: string) => void;
}

const SERVER_NAMES = ['redis-server', 'valkey-server'] as const;

/** By package manager, the one command that installs a server. The first one present on PATH is named. */
const INSTALL_COMMANDS = [
  ['apt-get', 'sudo apt-get install redis-server'],
  ['dnf', 'sudo dnf install valkey'],
  ['apk', 'apk add redis'],
  ['pacman', 'sudo pacman -S valkey'],
  ['brew', 'brew install redis'],
] as const;

/** Absolute path of a server that runs. Throws `invalid_config` with what to do where there is none. */
export async function findRedisServer(search: ServerSearch): Promise<string> {
  const { configuredPath, env } = search;
  if (configuredPath !== undefined) return await requireConfigured(resolve(configuredPath), env);

  const faults: string[] = [];
  for (const name of SERVER_NAMES) {
    const path = await findTool(name, env);
    const fault = path === undefined ? `no ${name} on PATH` : await findFault(path, env);
    if (path !== undefined && fault === undefined) return path;
    faults.push(fault ?? '');
  }

  const folder = join(resolve(search.dataDir), 'redis-server');
  const unpacked = join(folder, 'bin', 'redis-server');
  if ((await findFault(unpacked, env)) === undefined) return unpacked;

  const [aptGet, dpkgDeb] = await Promise.all([findTool('apt-get', env), findTool('dpkg-deb', env)]);
  if (aptGet === undefined || dpkgDeb === undefined) throw await explainMissing(faults, env);
  try {
    await unpackDebianRedis({ folder, aptGet, dpkgDeb, env, findFault, onProgress: search.onProgress ?? (() => {}) });
  } catch (thrown) {
    const cause = toError(thrown);
    throw await explainMissing([...faults, `unpacking Debian packages failed: ${cause.message}`], env, cause);
  }
  return unpacked;
}

async function requireConfigured(path: string, env: Environment): Promise<string> {
  const fault = await findFault(path, env);
  if (fault === undefined) return path;
  throw new AppError(
    'invalid_config',
    `POPBRIDGE_REDIS_SERVER names a program that cannot be used as a Redis server (${fault}). ` +
      'Set it to the path of a redis-server or valkey-server, or unset it to have one looked for.',
  );
}

/** Why the program at `path` is no usable server, or undefined. Running it shows what a look at the file cannot: missing libraries, another architecture. */
async function findFault(path: string, env: Environment): Promise<string | undefined> {
  try {
    const version = await runTool(path, ['--version'], { env, timeoutMs: binaryLimits.versionCheckTimeoutMs });
    return /\bserver v=\d/.test(version) ? undefined : `${path}: its --version is not that of Redis or Valkey`;
  } catch (thrown) {
    return toError(thrown).message;
  }
}

async function explainMissing(faults: readonly string[], env: Environment, cause?: Error): Promise<AppError> {
  let command: string | undefined;
  for (const [manager, install] of INSTALL_COMMANDS) {
    if (command === undefined && (await findTool(manager, env)) !== undefined) command = install;
  }
  const remedy = command === undefined ? 'Install redis-server or valkey-server' : `Run: ${command}`;
  return new AppError(
    'invalid_config',
    `Redis is needed and none was found (${faults.join('; ')}). ${remedy}, or set REDIS_URL to a Redis that already runs.`,
    { cause },
  );
}
