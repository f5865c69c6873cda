/**
 * Podman with a storage of its own, and the image that the Dockerfile stands on, made here: no registry of images is asked.
 * The settings let it work inside a sandbox, where crun, systemd and higher limits are not to be had.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Podman {
  /** Resolves with standard output. Throws with standard error when it exits with another code than 0. */
  podman(...args: string[]): Promise<string>;
  /** Ends all containers, and removes all that there is of them and of the images. */
  close(): Promise<void>;
}

/** Null where containers can be built here; else why not. */
export function whyNoPodman(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  const missing = ['podman', 'runc', 'mmdebstrap'].filter((name) => spawnSync(name, ['--version']).error);
  return missing.length > 0 ? `${missing.join(', ')} not installed` : null;
}

export async function openPodman(): Promise<Podman> {
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-podman-'));
  const conf = join(folder, 'containers.conf');
  await writeFile(
    conf,
    `[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`,
  );
  const storage = ['--root', join(folder, 'root'), '--runroot', join(folder, 'run'), '--storage-driver', 'overlay'];
  const env = { ...process.env, CONTAINERS_CONF: conf };
  async function podman(...args: string[]): Promise<string> {
    const { stdout } = await run('podman', [...storage, ...args], { env, maxBuffer: 2 ** 24 });
    return stdout;
  }
  return {
    podman,
    async close() {
      await podman('rm', '--all', '--force', '--time', '0');
      // The storage folder is a mount point of its own while podman has used it.
      await run('umount', [join(folder, 'root', 'overlay')]).catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** For `build`: what npm has downloaded here is not downloaded again; what the build adds is thrown away. */
export async function npmCacheVolume(): Promise<string[]> {
  const { stdout } = await run('npm', ['config', 'get', 'cache']);
  const cache = stdout.trim();
  return existsSync(cache) ? ['--volume', `${cache}:/root/.npm:O`] : [];
}

/** An image of Debian with this Node and its npm, shaped as the official one is. */
export async function importNodeImage({ podman }: Podman, name: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-node-image-'));
  // .../npm/bin/npm-cli.js
  const { stdout: command } = await run('which', ['npm']);
  const npm = dirname(dirname(await realpath(command.trim())));
  // Behind a proxy that signs for itself, npm in the container must know what npm knows here.
  const certificates = process.env['NODE_EXTRA_CA_CERTS'];
  const archive = join(folder, 'rootfs.tar');
  await run('mmdebstrap', [
    '--variant=essential',
    // It is thrown away: nothing of it must survive a loss of power.
    '--dpkgopt=force-unsafe-io',
    '--include=ca-certificates,libstdc++6,libatomic1',
    '--customize-hook=mkdir -p "$1/usr/local/lib/node_modules"',
    `--customize-hook=cp -L "${process.execPath}" "$1/usr/local/bin/node"`,
    `--customize-hook=cp -r "${npm}" "$1/usr/local/lib/node_modules/npm"`,
    '--customize-hook=ln -s ../lib/node_modules/npm/bin/npm-cli.js "$1/usr/local/bin/npm"',
    ...(certificates ? [`--customize-hook=cp -L "${certificates}" "$1/etc/node-certificates.pem"`] : []),
    'bookworm',
    archive,
  ]);
  const settings = certificates ? ['--change', 'ENV NODE_EXTRA_CA_CERTS=/etc/node-certificates.pem'] : [];
  await podman('import', ...settings, archive, name);
  await rm(folder, { recursive: true, force: true });
}
