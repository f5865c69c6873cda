/** The configuration of the tests' Dovecot, in the syntax of 2.3 or of 2.4. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ServerCertificate } from './certificates.ts';
import { renderNewerSasl, renderSasl } from './dovecot-sasl.ts';
import type { SaslPlan } from './dovecot-sasl.ts';
import type { MailOwner } from './maildirs.ts';

const run = promisify(execFile);

export interface DovecotPlan {
  /** The output of `dovecot --version`. */
  readonly version: string;
  /** Everything that Dovecot writes is below it. */
  readonly folder: string;
  readonly logPath: string;
  readonly passwordsPath: string;
  readonly mailFolder: string;
  readonly certificate: ServerCertificate;
  readonly accounts: Accounts;
  readonly lockMaildrops: boolean;
  /** Undefined for what Dovecot offers by itself. */
  readonly sasl: SaslPlan | undefined;
  readonly reuseProcesses: boolean;
  readonly port: number;
  readonly tlsPort: number;
  /** What the greeting says after `+OK`. */
  readonly greeting: string;
}

export interface Accounts {
  /** Numeric ids of the mail processes. */
  readonly mail: { readonly uid: number; readonly gid: number };
  /** Undefined for root: whose files they have to be made. */
  readonly mailOwner: MailOwner;
  /** Names that the other processes run as; undefined for those that the package made. */
  readonly server: { readonly user: string; readonly group: string } | undefined;
}

/** Root's Dovecot reads mail as nobody, since it reads none as root; an ordinary user's does everything as that user. */
export async function findAccounts(): Promise<Accounts> {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  if (uid === 0) {
    const nobody = { uid: 65_534, gid: 65_534 };
    return { mail: nobody, mailOwner: nobody, server: undefined };
  }
  const [user, group] = await Promise.all([run('id', ['-un']), run('id', ['-gn'])]);
  const server = { user: user.stdout.trim(), group: group.stdout.trim() };
  return { mail: { uid, gid }, mailOwner: undefined, server };
}

/** A passwd-file; base64, so that a password may hold colons. */
export function renderPasswords(users: Readonly<Record<string, { readonly password: string }>>): string {
  const entries = Object.entries(users);
  return entries
    .map(([name, { password }]) => `${name}:{PLAIN.b64}${Buffer.from(password).toString('base64')}\n`)
    .join('');
}

export function renderConfig(plan: DovecotPlan): string {
  return (plan.version.startsWith('2.3.') ? renderOlder(plan) : renderNewer(plan)) + renderShared(plan);
}

function renderOlder({ certificate, mailFolder, passwordsPath, accounts, sasl }: DovecotPlan): string {
  const { uid, gid } = accounts.mail;
  return `${sasl === undefined ? '' : renderSasl(sasl)}
disable_plaintext_auth = no
ssl_cert = <${certificate.certPath}
ssl_key = <${certificate.keyPath}
mail_location = maildir:${mailFolder}/%u
passdb {
  driver = passwd-file
  args = ${passwordsPath}
}
userdb {
  driver = static
  args = uid=${uid} gid=${gid} home=${mailFolder}/%u
}
`;
}

/** 2.4 wants to be told first which syntax and which storage format are meant. */
function renderNewer({ version, certificate, mailFolder, passwordsPath, accounts, sasl }: DovecotPlan): string {
  const { uid, gid } = accounts.mail;
  const release = /^\d+\.\d+\.\d+/.exec(version)?.[0] ?? '2.4.0';
  return `
dovecot_config_version = ${release}
dovecot_storage_version = ${release}
auth_allow_cleartext = yes
ssl_server_cert_file = ${certificate.certPath}
ssl_server_key_file = ${certificate.keyPath}
mail_driver = maildir
mail_path = ${mailFolder}/%{user}
${sasl === undefined ? '' : renderNewerSasl(sasl)}
passdb passwd-file {
  passwd_file_path = ${passwordsPath}
}
userdb static {
  fields {
    uid = ${uid}
    gid = ${gid}
    home = ${mailFolder}/%{user}
  }
}
`;
}

function renderShared(plan: DovecotPlan): string {
  const { folder, logPath, accounts, greeting, lockMaildrops, reuseProcesses, port, tlsPort } = plan;
  const { server } = accounts;
  // Only root can change the root folder of a process.
  const noChroot = server === undefined ? '' : 'chroot =';
  const names =
    server === undefined
      ? ''
      : `
default_login_user = ${server.user}
default_internal_user = ${server.user}
default_internal_group = ${server.group}
`;
  return `${names}
protocols = pop3
base_dir = ${join(folder, 'run')}
state_dir = ${join(folder, 'state')}
log_path = ${logPath}
listen = 127.0.0.1
login_greeting = ${greeting}
ssl = yes
first_valid_uid = 1
pop3_lock_session = ${lockMaildrops ? 'yes' : 'no'}
mail_max_userip_connections = 100
# Wrong passwords are answered at once, the first and the tenth.
auth_failure_delay = 0
service anvil {
  ${noChroot}
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service pop3-login {
  ${noChroot}
  ${reuseProcesses ? 'service_count = 0\n  process_min_avail = 2' : ''}
  inet_listener pop3 {
    port = ${port}
  }
  inet_listener pop3s {
    port = ${tlsPort}
    ssl = yes
  }
}
${reuseProcesses ? 'service pop3 {\n  service_count = 1000\n}' : ''}
`;
}
