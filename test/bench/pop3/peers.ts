/** Who takes part: ours, what bounds it from below, and the POP3 clients that are installed. Peers leave the mail on the server. */

import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Job } from './job.ts';
import type { Command } from './measure.ts';
import type { Programs } from './programs.ts';

const NOBODY = 65_534;

export interface Peer {
  readonly name: string;
  /** Octets as of the mails, or as they were on the wire; null where it does not say. */
  readonly counts: 'mail' | 'wire' | null;
  readonly polls: boolean;
  readonly tls: boolean;
  /** Node's start is a part of it. */
  readonly isNode: boolean;
  /** The folder is empty and its own, and lies in memory where the machine has such a place. */
  prepare(job: Job, folder: string): Promise<Command>;
}

export interface PeerSources {
  readonly programs: Programs;
  /** A folder like node_modules, or undefined. */
  readonly modules: string | undefined;
}

/** Those that are there. The names of all: ours, bare, c, mpop, mpop-mbox, curl, fetchmail, getmail6, poplib, node-pop3, yapople. */
export function findPeers({ programs, modules }: PeerSources): Peer[] {
  const { loop } = programs;
  const all: (Peer | false)[] = [
    nodePeer('ours', 'mail', true, programs.script('ours')),
    nodePeer('bare', 'wire', true, programs.script('bare')),
    loop !== undefined && {
      name: 'c',
      counts: 'wire',
      polls: true,
      tls: loop.hasTls,
      isNode: false,
      async prepare({ host, port, caPath, username, password, messages, polls, pollsAtOnce }) {
        const numbers = [messages, polls, pollsAtOnce].map(String);
        return { file: loop.path, args: [host, String(port), caPath ?? '-', username, password, ...numbers] };
      },
    },
    // It cannot deliver to nowhere. Files in a folder in memory cost it less than an mbox, which wants a temporary file.
    isOnPath('mpop') && mpopPeer('mpop', (folder) => `exchange ${folder}/mails`),
    isOnPath('mpop') && mpopPeer('mpop-mbox', () => 'mbox /dev/null'),
    isOnPath('curl') && { ...toolPeer('curl'), prepare: prepareCurl },
    isOnPath('fetchmail') && { ...toolPeer('fetchmail'), prepare: prepareFetchmail },
    isOnPath('getmail') && { ...toolPeer('getmail6'), prepare: prepareGetmail },
    isOnPath('python3') && {
      name: 'poplib',
      counts: 'mail',
      polls: true,
      tls: true,
      isNode: false,
      async prepare(job) {
        const program = new URL('programs/poplib-loop.py', import.meta.url).pathname;
        return { file: 'python3', args: [program, JSON.stringify(job)] };
      },
    },
  ];
  for (const [name, polls] of [
    ['node-pop3', true],
    ['yapople', false],
  ] as const) {
    if (modules === undefined || !existsSync(join(modules, 'node_modules', name))) continue;
    // They leave out the last line end of a mail, or dots, or both: what they count is only shown.
    all.push(nodePeer(name, null, polls, programs.script(name), modules));
  }
  return all.filter((peer) => peer !== false);
}

function isOnPath(name: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, name)));
}

function nodePeer(name: string, counts: Peer['counts'], polls: boolean, script: string, ...before: string[]): Peer {
  return {
    name,
    counts,
    polls,
    tls: true,
    isNode: true,
    async prepare(job) {
      return { file: process.execPath, args: [script, ...before, JSON.stringify(job)] };
    },
  };
}

function toolPeer(name: string): Omit<Peer, 'prepare'> {
  return { name, counts: null, polls: false, tls: true, isNode: false };
}

function mpopPeer(name: string, delivery: (folder: string) => string): Peer {
  return {
    ...toolPeer(name),
    async prepare({ host, port, caPath, username, password }, folder) {
      await mkdir(join(folder, 'mails'));
      const path = join(folder, 'mpoprc');
      const lines = [
        'account default',
        `host ${host}`,
        `port ${port}`,
        `user ${username}`,
        `password ${password}`,
        'auth user',
        ...(caPath === null ? ['tls off'] : ['tls on', 'tls_starttls off', `tls_trust_file ${caPath}`]),
        'keep on',
        'received_header off',
        `delivery ${delivery(folder)}`,
        `uidls_file ${join(folder, 'uidls')}`,
      ];
      await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o600 });
      return { file: 'mpop', args: ['-q', '-C', path], env: { TMPDIR: folder } };
    },
  };
}

async function prepareCurl({ host, port, caPath, username, password, messages }: Job): Promise<Command> {
  const scheme = caPath === null ? 'pop3' : 'pop3s';
  const url = `${scheme}://${host}:${port}/[1-${messages}]`;
  const tls = caPath === null ? [] : ['--cacert', caPath];
  return { file: 'curl', args: ['-sS', '-u', `${username}:${password}`, '-o', '/dev/null', ...tls, url] };
}

async function prepareFetchmail(job: Job, folder: string): Promise<Command> {
  const path = join(folder, 'fetchmailrc');
  const tls = job.caPath === null ? "sslproto ''" : `ssl sslcertck sslcommonname localhost sslcertfile ${job.caPath}`;
  const account = `user "${job.username}" password "${job.password}" keep fetchall ${tls}`;
  await writeFile(path, `poll ${job.host} service ${job.port} protocol pop3 ${account} bsmtp /dev/null\n`, {
    mode: 0o600,
  });
  const files = ['--pidfile', join(folder, 'pid'), '--idfile', join(folder, 'ids')];
  return { file: 'fetchmail', args: ['-s', '-f', path, ...files], env: { FETCHMAILHOME: folder } };
}

async function prepareGetmail({ host, port, caPath, username, password }: Job, folder: string): Promise<Command> {
  const mbox = join(folder, 'mbox');
  await writeFile(mbox, '');
  // It delivers to an mbox only as another than root, whom it becomes.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await Promise.all([chmod(folder, 0o777), chown(mbox, NOBODY, NOBODY)]);
  const config = `
[retriever]
type = ${caPath === null ? 'SimplePOP3Retriever' : 'SimplePOP3SSLRetriever'}
server = ${host}
port = ${port}
username = ${username}
password = ${password}
${caPath === null ? '' : `ca_certs = ${caPath}`}
[destination]
type = Mboxrd
path = ${mbox}
locktype = flock
${isRoot ? 'user = nobody' : ''}
[options]
read_all = true
delete = false
delivered_to = false
received = false
verbose = 0
`;
  await writeFile(join(folder, 'getmailrc'), config);
  return { file: 'getmail', args: [`--getmaildir=${folder}`, '--rcfile=getmailrc'] };
}
