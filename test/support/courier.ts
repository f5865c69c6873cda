/**
 * A real Courier POP3 server on loopback ports of its own, beside a Dovecot whose package it conflicts with.
 *
 * Its programs are those that `test/support/unpack-courier.sh` unpacked. They have fixed paths, /etc/courier and
 * /run/courier, so they run in a mount namespace, which needs root, and in a process namespace, which the kernel ends with
 * the test run. The machine's files are not touched. It installs nothing: ask `courierAvailable()`, and where it says no
 * skip by a name that says so.
 */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeCertificates } from './certificates.ts';
import type { ServerCertificate } from './certificates.ts';
import { writeAccounts } from './courier-accounts.ts';
import { Maildirs } from './maildirs.ts';
import { RawPop3 } from './raw-pop3.ts';
import type { RawPop3Options } from './raw-pop3.ts';
import { awaitEnd, findFreePorts, HOST, launchOnFreePorts, stopProcess } from './server-process.ts';
import type { MailServer, MailUsers, Ports } from './server-process.ts';

export interface CourierOptions {
  readonly users: MailUsers;
  /** Asked for free ports, and again when somebody else was quicker to take them. */
  readonly findPorts?: () => Promise<Ports>;
}

const TREE = fileURLToPath(new URL('../../data/test-servers/courier', import.meta.url));
/** Where the tree is inside the namespace: nobody has to get at it, and may not enter the folder of the checkout. */
const TREE_INSIDE = '/run/tree';
const NOBODY = { uid: 65_534, gid: 65_534 };
const START_TIMEOUT_MS = 20_000;
const LOGIN_TIMEOUT_MS = 2_000;

/** The first process of the namespace. It ends with any of the three daemons, and they with it. */
const SCRIPT = `
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/courier/authdaemon ${TREE_INSIDE}
mount --bind "$TREE" ${TREE_INSIDE}
mount --bind "$ETC" /etc
export LD_LIBRARY_PATH="$LIBRARIES"
usr=${TREE_INSIDE}/usr
pop3="$usr/lib/courier/courier/courierpop3login $usr/lib/courier/courier/courierpop3d ."
tcpd="$usr/sbin/couriertcpd -address=${HOST} -nodnslookup -noidentlookup -maxprocs=200 -maxperip=200"
export COURIERTLS=$usr/bin/couriertls
$usr/lib/courier/courier-authlib/authdaemond &
until [ -S /run/courier/authdaemon/socket ]; do kill -0 $!; sleep 0.02; done
POP3_STARTTLS=YES $tcpd "$PORT" $pop3 &
POP3_TLS=1 $tcpd "$TLS_PORT" "$COURIERTLS" -server -tcpd $pop3 &
wait -n
`;

const SETTINGS = {
  PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  POP3AUTH: 'PLAIN LOGIN CRAM-MD5',
  POP3AUTH_TLS: 'PLAIN LOGIN CRAM-MD5',
  TLS_CERTFILE: '/etc/courier/pop3d.pem',
  TLS_VERIFYPEER: 'NONE',
};

export function courierAvailable(): boolean {
  return process.getuid?.() === 0 && existsSync('/usr/bin/unshare') && existsSync(TREE);
}

/**
 * Resolves when both ports let somebody in. Throws, with what Courier said, when they do not.
 *
 * Courier holds mails with bare LF and sends CRLF for each: `deliver` and `maildir` convert, so that a mail with CRLF
 * throughout comes back as it went in, and one with other line ends changed.
 */
export async function startCourier({ users, findPorts = findFreePorts }: CourierOptions): Promise<MailServer> {
  if (!courierAvailable()) throw new Error('Courier needs root, unshare, and sh test/support/unpack-courier.sh');
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-courier-'));
  const certificates = await makeCertificates();
  async function removeFolders(): Promise<void> {
    // The kernel may still be at ending the processes.
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
    await certificates.remove();
  }

  try {
    await chmod(folder, 0o711); // Nobody has to get at the mail.
    const mailFolder = join(folder, 'mail');
    const maildirs = new Maildirs(mailFolder, NOBODY);
    for (const [user, { mails = [] }] of Object.entries(users)) {
      await maildirs.create(user);
      for (const raw of mails) await maildirs.deliver(user, toLf(raw));
    }
    // Lets the start see that it is this server that answers, and that it asks the right authdaemond.
    const probe = { user: `probe-${randomBytes(8).toString('hex')}`, password: randomBytes(8).toString('hex') };
    await maildirs.create(probe.user);
    const etc = join(folder, 'etc');
    await mkdir(join(etc, 'courier'), { recursive: true });
    await writeSettings(etc, certificates.server);
    const everybody = { ...users, [probe.user]: probe };
    const accounts = { users: everybody, mailFolder, owner: NOBODY, tree: TREE, libraries: await findLibraries(TREE) };
    await writeAccounts(join(etc, 'courier'), accounts);
    const libraries = await findLibraries(TREE_INSIDE);
    const { child, ports } = await launchOnFreePorts(findPorts, (ports) =>
      launch({ ...ports, etc, libraries, ca: certificates.ca, probe }),
    );
    return {
      host: HOST,
      ...ports,
      ca: certificates.ca,
      deliver: (user, raw) => maildirs.deliver(user, toLf(raw)),
      maildir: async (user) => (await maildirs.list(user)).map(toCrlf),
      async close() {
        await stopProcess(child, 'SIGKILL'); // By anything less only unshare would end.
        await removeFolders();
      },
    };
  } catch (error) {
    await removeFolders();
    throw error;
  }
}

async function writeSettings(etc: string, { key, cert }: ServerCertificate): Promise<void> {
  await writeFile(join(etc, 'courier/authdaemonrc'), 'authmodulelist="authuserdb"\ndaemons=2\n');
  // STLS is served by a process of this name.
  await writeFile(join(etc, 'passwd'), `courier:x:${NOBODY.uid}:${NOBODY.gid}::/:/bin/false\n`);
  await writeFile(join(etc, 'group'), `courier:x:${NOBODY.gid}:\n`);
  const certificatePath = join(etc, 'courier/pop3d.pem');
  await writeFile(certificatePath, key + cert, { mode: 0o600 });
  await chown(certificatePath, NOBODY.uid, NOBODY.gid);
}

/** Folders of the unpacked libraries, as they are called where the tree is at `root`. */
async function findLibraries(root: string): Promise<string> {
  const files = await readdir(join(TREE, 'usr/lib'), { recursive: true, withFileTypes: true });
  const libraries = files.filter(({ name }) => /\.so(\.|$)/.test(name));
  return [...new Set(libraries.map(({ parentPath }) => join(root, relative(TREE, parentPath))))].join(':');
}

interface Plan extends Ports {
  readonly etc: string;
  readonly libraries: string;
  readonly ca: string;
  readonly probe: { readonly user: string; readonly password: string };
}

async function launch({ port, tlsPort, etc, libraries, ca, probe }: Plan): Promise<ChildProcess> {
  const namespace = ['unshare', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'];
  // The kernel ends unshare with the test run, even with one that is killed, and the namespace with unshare.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...namespace, 'bash', '-c', SCRIPT], {
    env: { ...SETTINGS, TREE, ETC: etc, LIBRARIES: libraries, PORT: String(port), TLS_PORT: String(tlsPort) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const end = awaitEnd(child);
  const deadline = Date.now() + START_TIMEOUT_MS;
  const isUp = async (): Promise<boolean> =>
    (await letsIn({ port: tlsPort, ca }, probe)) && (await letsIn({ port }, probe));
  while (!(await isUp())) {
    const late = Date.now() > deadline ? 'it let nobody in' : undefined;
    const ended = await Promise.race([end, delay(20, late)]);
    if (ended === undefined) continue;
    await stopProcess(child, 'SIGKILL');
    throw new Error(`Courier did not start, ${ended}:\n${said}`);
  }
  return child;
}

/** False, too, where nothing listens, or somebody else. */
async function letsIn(place: RawPop3Options, { user, password }: Plan['probe']): Promise<boolean> {
  let client: RawPop3 | undefined;
  const attempt = async (): Promise<boolean> => {
    client = await RawPop3.open(place);
    await client.readLine();
    await client.send(`USER ${user}`);
    return (await client.send(`PASS ${password}`)).startsWith('+OK');
  };
  try {
    return await Promise.race([attempt().catch(() => false), delay(LOGIN_TIMEOUT_MS, false)]);
  } finally {
    client?.close();
  }
}

function toLf(raw: Buffer): Buffer {
  return Buffer.from(raw.toString('latin1').replaceAll('\r\n', '\n'), 'latin1');
}

function toCrlf(raw: Buffer): Buffer {
  return Buffer.from(raw.toString('latin1').replaceAll('\n', '\r\n'), 'latin1');
}
