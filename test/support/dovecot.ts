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
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { makeCertificates } from './certificates.ts';
import { findAccounts, renderConfig, renderPasswords } from './dovecot-config.ts';
import type { DovecotPlan } from './dovecot-config.ts';
import { prepareSasl } from './dovecot-sasl.ts';
import type { Sasl, SaslCredentials } from './dovecot-sasl.ts';
import { Maildirs } from './maildirs.ts';
import { awaitEnd, findFreePorts, HOST, launchOnFreePorts, stopProcess } from './server-process.ts';
import type { MailServer, MailUsers, Ports } from './server-process.ts';

export interface DovecotOptions {
  readonly users: MailUsers;
  /** One session per maildrop, the second gets `-ERR [IN-USE]` after some twelve seconds. Off, as in Dovecot, unless set. */
  readonly lockMaildrops?: boolean;
  /**
   * APOP, a greeting for it, and every SASL mechanism: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256, OAUTHBEARER, XOAUTH2,
   * and EXTERNAL for those who show a certificate. PLAIN alone unless set.
   */
  readonly sasl?: boolean;
  /** A process serves many sessions, one after the other: quicker, as busy servers are set up. One session each unless set. */
  readonly reuseProcesses?: boolean;
  /** Asked for free ports, and again when somebody else was quicker to take them. */
  readonly findPorts?: () => Promise<Ports>;
}

export interface Dovecot extends MailServer {
  /** What a user logs in with beside the password. Throws unless Dovecot was started with `sasl`. */
  credentials(user: string): SaslCredentials;
}

const START_TIMEOUT_MS = 20_000;
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
  let sasl: Sasl | undefined;
  async function cleanUp(): Promise<void> {
    await sasl?.close();
    // Processes of Dovecot may outlive their master for a moment and still write.
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
    await certificates.remove();
  }

  try {
    // Root's Dovecot gives up its privileges and has to get at the mail after that.
    await chmod(folder, 0o711);
    const accounts = await findAccounts();
    if (options.sasl === true) sasl = await prepareSasl(folder, Object.keys(options.users));
    const plan = {
      version: (await promisify(execFile)(binary, ['--version'])).stdout,
      folder,
      logPath: join(folder, 'dovecot.log'),
      passwordsPath: join(folder, 'passwords'),
      mailFolder: join(folder, 'mail'),
      certificate: certificates.server,
      accounts,
      lockMaildrops: options.lockMaildrops ?? false,
      sasl,
      reuseProcesses: options.reuseProcesses ?? false,
    };
    await writeFile(plan.passwordsPath, renderPasswords(options.users));
    const maildirs = new Maildirs(plan.mailFolder, accounts.mailOwner);
    for (const [user, { mails = [] }] of Object.entries(options.users)) {
      await maildirs.create(user);
      for (const raw of mails) await maildirs.deliver(user, raw);
    }
    const { child, ports } = await launchOnFreePorts(options.findPorts ?? findFreePorts, async (ports) => {
      await rm(plan.logPath, { force: true });
      return launch(binary, { ...plan, ...ports, greeting: randomBytes(12).toString('hex') });
    });
    return {
      host: HOST,
      ...ports,
      ca: certificates.ca,
      deliver: (user, raw) => maildirs.deliver(user, raw),
      maildir: (user) => maildirs.list(user),
      credentials(user) {
        if (sasl === undefined) throw new Error('This Dovecot was started without sasl.');
        return sasl.credentials(user);
      },
      async close() {
        await stopProcess(child);
        await cleanUp();
      },
    };
  } catch (error) {
    await cleanUp();
    throw error;
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
  const end = awaitEnd(child);
  const deadline = Date.now() + START_TIMEOUT_MS;
  // Only its own greeting shows that it is up: another server may have been quicker to take the port.
  while (!(await readGreeting(plan.port)).includes(plan.greeting)) {
    const late = Date.now() > deadline ? 'it did not greet in time' : undefined;
    const ended = await Promise.race([end, delay(20, late)]);
    if (ended === undefined) continue;
    await stopProcess(child);
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
