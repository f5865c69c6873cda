/** Who may log in to the tests' Courier: the two databases of authuserdb, made by Courier's own programs. */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { awaitEnd } from './server-process.ts';
import type { MailUsers } from './server-process.ts';

export interface AccountsPlan {
  readonly users: MailUsers;
  /** Each user's maildrop is a folder in it, by name. */
  readonly mailFolder: string;
  readonly owner: { readonly uid: number; readonly gid: number };
  /** Where Courier was unpacked, and its libraries as LD_LIBRARY_PATH. */
  readonly tree: string;
  readonly libraries: string;
}

/** Writes userdb.dat and userdbshadow.dat. */
export async function writeAccounts(folder: string, plan: AccountsPlan): Promise<void> {
  const { users, mailFolder, owner, tree } = plan;
  const places: string[] = [];
  const secrets: string[] = [];
  for (const [name, { password }] of Object.entries(users)) {
    const hash = createHash('sha256').update(password).digest('base64');
    // CRAM-MD5 is computed from the password's half-finished HMAC, which only Courier's program writes.
    const hmac = await run(plan, join(tree, 'usr/sbin/userdbpw'), ['-hmac-md5'], `${password}\n`);
    places.push(`${name}\tuid=${owner.uid}|gid=${owner.gid}|home=${join(mailFolder, name)}\n`);
    secrets.push(`${name}\tsystempw={SHA256}${hash}|hmac-md5pw=${hmac.trim()}\n`);
  }
  const databases: [string, string[]][] = [
    ['userdb.dat', places],
    ['userdbshadow.dat', secrets],
  ];
  for (const [name, lines] of databases) {
    const args = ['-', join(folder, 'draft'), join(folder, name)];
    await run(plan, join(tree, 'usr/lib/courier/courier-authlib/makedatprog'), args, `${lines.join('')}.\n`);
  }
}

async function run({ libraries }: AccountsPlan, command: string, args: string[], input: string): Promise<string> {
  const child = spawn(command, args, {
    env: { LD_LIBRARY_PATH: libraries },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const end = awaitEnd(child);
  child.stdin.end(input);
  const output = await text(child.stdout);
  if (child.exitCode !== 0 && (await end) !== 'it ended with 0') throw new Error(`${command}: ${await end}`);
  return output;
}
