/**
 * A real Dovecot on loopback ports of its own, from Debian's packages (`apt-get install dovecot-pop3d`).
 *
 * Configuration, sockets, log and mail live in a temporary folder: a Dovecot of the machine is neither used nor disturbed.
 * Works as root and as an ordinary user. It installs nothing: ask `dovecotAvailable()`, and where it says no
 * skip by a name that says so.
 */

import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { makeCertificates } from './certificates.ts';
import { findAccounts, renderConfig, renderPasswords } from './dovecot-config.ts';
import type { DovecotPlan } from './dovecot-config.ts';
import { Maildirs } from './maildirs.ts';

export interface Ports {
  /** Plain, with STLS on offer. */
  readonly port: number;
  /** TLS from the first byte. */
  readonly tlsPort: number;
}

export interface DovecotOptions {
  /** By name, which becomes the name of a folder, too. */
  readonly users: Readonly<Record<string, { readonly password: string; readonly mails?: readonly Buffer[] }>>;
  /** One session per maildrop, the second gets `-ERR [IN-USE]` after some twelve seconds. Off, as in Dovecot, unless set. */
  readonly lockMaildrops?: boolean;
  /** Asked for free ports, and again when somebody else was quicker to take them. */
  readonly findPorts?: () => Promise<Ports>;
}

export interface Dovecot extends Ports {
  readonly host: string;
  /** PEM; the server's certificate is for localhost and 127.0.0.1. */
  readonly ca: string;
  /** Puts a mail into a user's maildrop while Dovecot runs. */
  deliver(user: string, raw: Buffer): Promise<void>;
  /** The mails left in a user's maildrop, oldest first. */
  maildir(user: string): Promise<Buffer[]>;
  /** Ends Dovecot and removes the folder. */
  close(): Promise<void>;
}

const HOST = '127.0.0.1';
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 5_000;
const PORT_ATTEMPTS_MAX = 5;
const LIBRARY_FOLDERS = ['/usr/lib/dovecot', '/usr/libexec/dovecot'];

export function dovecotAvailable(): boolean {
  return findBinary() !== undefined && LIBRARY_FOLDERS.some((folder) => existsSync(join(folder, 'pop3-login')));
}

/** /usr/sbin is not on an ordinary user's PATH. */
function findBinary(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin'];
  return folders.map((folder) => join(folder, 'dovecot')).find((path) => existsSync(path));
}

/** Resolves when Dovecot greets. Throws, with what Dovecot logged, when it does not. */
export async function startDovecot(options: DovecotOptions): Promise<Dovecot> {
  const binary = findBinary();
  if (binary === undefined) throw new Error('Dovecot is not installed: apt-get install dovecot-pop3d');
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-dovecot-'));
  const certificates = await makeCertificates();
  async function removeFolders(): Promise<void> {
    // Processes of Dovecot may outlive their master for a moment and still write.
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
    await certificates.remove();
  }

  try {
    // Root's Dovecot gives up its privileges and has to get at the mail after that.
    await chmod(folder, 0o711);
    const accounts = await findAccounts();
    const plan = {
      version: (await promisify(execFile)(binary, ['--version'])).stdout,
      folder,
      logPath: join(folder, 'dovecot.log'),
      passwordsPath: join(folder, 'passwords'),
      mailFolder: join(folder, 'mail'),
      certificate: certificates.server,
      accounts,
      lockMaildrops: options.lockMaildrops ?? false,
    };
    await writeFile(plan.passwordsPath, renderPasswords(options.users));
    const maildirs = new Maildirs(plan.mailFolder, accounts.mailOwner);
    for (const [user, { mails = [] }] of Object.entries(options.users)) {
      await maildirs.create(user);
      for (const raw of mails) await maildirs.deliver(user, raw);
    }
    const { child, ports } = await launchOnFreePorts(binary, plan, options.findPorts ?? findFreePorts);
    return {
      host: HOST,
      ...ports,
      ca: certificates.ca,
      deliver: (user, raw) => maildirs.deliver(user, raw),
      maildir: (user) => maildirs.list(user),
      async close() {
        await stop(child);
        await removeFolders();
      },
    };
  } catch (error) {
    await removeFolders();
    throw error;
  }
}

type PlanBeforePorts = Omit<DovecotPlan, 'port' | 'tlsPort' | 'greeting'>;

async function launchOnFreePorts(
  binary: string,
  plan: PlanBeforePorts,
  findPorts: () => Promise<Ports>,
): Promise<{ child: ChildProcess; ports: Ports }> {
  for (let attempt = 1; ; attempt += 1) {
    const ports = await findPorts();
    try {
      return { child: await launch(binary, { ...plan, ...ports, greeting: randomBytes(12).toString('hex') }), ports };
    } catch (error) {
      if (attempt === PORT_ATTEMPTS_MAX || !String(error).includes('Address already in use')) throw error;
      await rm(plan.logPath, { force: true });
    }
  }
}

async function launch(binary: string, plan: DovecotPlan): Promise<ChildProcess> {
  const configPath = join(plan.folder, 'dovecot.conf');
  await writeFile(configPath, renderConfig(plan));
  // setpriv becomes Dovecot, and the kernel ends that with the test run, even with one that is killed.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', binary, '-F', '-c', configPath], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  const failure = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(`it ended with ${code ?? signal}`));
  });
  const deadline = Date.now() + START_TIMEOUT_MS;
  // Only its own greeting shows that it is up: another server may have been quicker to take the port.
  while (!(await readGreeting(plan.port)).includes(plan.greeting)) {
    const late = Date.now() > deadline ? 'it did not greet in time' : undefined;
    const ended = await Promise.race([failure, delay(20, late)]);
    if (ended === undefined) continue;
    await stop(child);
    const log = await readFile(plan.logPath, 'utf8').catch(() => '');
    throw new Error(`Dovecot did not start, ${ended}:\n${complaints}${log}`);
  }
  return child;
}

/** The first bytes that come from a port; none where nothing listens. */
function readGreeting(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: HOST, port, timeout: 1_000 });
    const finish = (greeting: string): void => {
      socket.destroy();
      resolve(greeting);
    };
    socket.once('data', (chunk) => finish(chunk.toString('latin1')));
    socket.once('timeout', () => finish(''));
    socket.once('close', () => finish(''));
    // `close` follows.
    socket.on('error', () => {});
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  child.kill('SIGTERM');
  await ended;
  clearTimeout(timer);
}

async function findFreePorts(): Promise<Ports> {
  const servers = [createServer(), createServer()];
  const [port = 0, tlsPort = 0] = await Promise.all(
    servers.map(async (server) => {
      server.listen(0, HOST);
      await once(server, 'listening');
      return (server.address() as AddressInfo).port;
    }),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return { port, tlsPort };
}
