/** Maildir folders, one per user, filled and read the way a mail server does it. */

import { chown, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Whose the mail is; undefined leaves it with whoever runs the tests. */
export type MailOwner = { readonly uid: number; readonly gid: number } | undefined;

export class Maildirs {
  readonly #folder: string;
  readonly #owner: MailOwner;
  #delivered = 0;

  constructor(folder: string, owner: MailOwner) {
    this.#folder = folder;
    this.#owner = owner;
  }

  async create(user: string): Promise<void> {
    for (const part of ['', 'tmp', 'new', 'cur']) {
      const path = join(this.#folder, user, part);
      await mkdir(path, { recursive: true });
      await this.#own(path);
    }
  }

  /** Written under tmp and renamed, so that it is seen whole or not at all. */
  async deliver(user: string, raw: Buffer): Promise<void> {
    this.#delivered += 1;
    // A server numbers by time, then by what follows the M: all in one second, in order.
    const name = `1793500000.M${String(this.#delivered).padStart(6, '0')}P1.localhost`;
    const draft = join(this.#folder, user, 'tmp', name);
    await writeFile(draft, raw);
    await this.#own(draft);
    await rename(draft, join(this.#folder, user, 'new', name));
  }

  /** What is in the maildrop, oldest first. Looks again where the server moved or deleted a mail while it was read. */
  async list(user: string): Promise<Buffer[]> {
    for (;;) {
      const found: { name: string; path: string }[] = [];
      for (const part of ['new', 'cur']) {
        const folder = join(this.#folder, user, part);
        for (const name of await readdir(folder)) found.push({ name, path: join(folder, name) });
      }
      found.sort((a, b) => (a.name < b.name ? -1 : 1));
      const mails = await Promise.all(found.map(({ path }) => readFile(path).catch(nullIfMissing)));
      if (mails.every((mail) => mail !== null)) return mails;
    }
  }

  async #own(path: string): Promise<void> {
    if (this.#owner !== undefined) await chown(path, this.#owner.uid, this.#owner.gid);
  }
}

function nullIfMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
