/**
 * A real forward proxy on a loopback port of its own, from Debian's package (`apt-get install tinyproxy-bin`). It installs nothing: ask
 * `tinyproxyAvailable()`, and where it says no skip by a name that says so.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { awaitEnd, findFreePorts, launchOnFreePorts, stopProcess } from './server-process.ts';

export interface TinyproxyOptions {
  /** Asked for where set. */
  readonly account?: { readonly user: string; readonly password: string };
  /** A free one unless given. */
  readonly port?: number;
  /** The ports that it opens tunnels to; all unless given. */
  readonly tunnelPorts?: readonly number[];
}

export interface Tinyproxy {
  readonly port: number;
  /** What was asked for so far, as `CONNECT 192.0.2.1:443`. */
  asked(): Promise<string[]>;
  close(): Promise<void>;
}

const START_TIMEOUT_MS = 20_000;

export function tinyproxyAvailable(): boolean {
  return findBinary() !== undefined;
}

function findBinary(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.map((folder) => join(folder, 'tinyproxy')).find((path) => existsSync(path));
}

export async function startTinyproxy({ account, port, tunnelPorts = [] }: TinyproxyOptions = {}): Promise<Tinyproxy> {
  const binary = findBinary();
  if (binary === undefined) throw new Error('tinyproxy is not installed: apt-get install tinyproxy-bin.');
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-tinyproxy-'));
  const [configPath, logPath] = [join(folder, 'tinyproxy.conf'), join(folder, 'tinyproxy.log')];
  const findPorts = port === undefined ? findFreePorts : async () => ({ port, tlsPort: 0 });
  const { child, ports } = await launchOnFreePorts(findPorts, async (free) => {
    const config = [
      `Port ${free.port}`,
      'Listen 127.0.0.1',
      'Timeout 60',
      'MaxClients 100',
      'LogLevel Info',
      `LogFile "${logPath}"`,
      ...(account ? [`BasicAuth ${account.user} ${account.password}`] : []),
      ...tunnelPorts.map((each) => `ConnectPort ${each}`),
    ];
    await writeFile(configPath, `${config.join('\n')}\n`);
    await rm(logPath, { force: true });
    return launch(binary, configPath, logPath);
  });
  return {
    port: ports.port,
    async asked() {
      const log = await readFile(logPath, 'utf8');
      return [...log.matchAll(/Request .*: (CONNECT \S+) /g)].map(([, asked = '']) => asked);
    },
    async close() {
      await stopProcess(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Resolves when it accepts connections. */
async function launch(binary: string, configPath: string, logPath: string): Promise<ChildProcess> {
  // setpriv becomes tinyproxy, and the kernel ends that with the test run, even with one that is killed.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', binary, '-d', '-c', configPath], { stdio: 'ignore' });
  const end = awaitEnd(child);
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const log = await readFile(logPath, 'utf8').catch(() => '');
    if (log.includes('Accepting connections')) return child;
    const late = Date.now() > deadline ? 'it did not say in time that it is up' : undefined;
    const ended = await Promise.race([end, delay(20, late)]);
    if (ended === undefined) continue;
    await stopProcess(child);
    throw new Error(`tinyproxy did not start, ${ended}:\n${log}`);
  }
}
