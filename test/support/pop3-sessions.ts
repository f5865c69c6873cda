/** Sessions of the client with a server that may be a real one: opened, used and surely closed. */

import { Pop3Client } from '../../src/pop3/index.ts';
import type { Pop3Options, Pop3Settings } from '../../src/pop3/index.ts';

export async function logIn(settings: Pop3Settings, options: Pop3Options = {}): Promise<Pop3Client> {
  const client = await Pop3Client.connect(settings, options);
  try {
    await client.login();
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}

/** Throws, too, where the server does not confirm QUIT. */
export async function inSession(
  settings: Pop3Settings,
  work: (client: Pop3Client) => Promise<void>,
  options: Pop3Options = {},
): Promise<void> {
  const client = await logIn(settings, options);
  try {
    await work(client);
    if (!(await client.quit())) throw new Error('QUIT was not confirmed.');
  } finally {
    client.close();
  }
}

/** For a session after another: a server may notice only after a moment that the last one is over. */
export async function logInAgain(settings: Pop3Settings): Promise<Pop3Client> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await logIn(settings);
    } catch (error) {
      if (tries === 50 || !(error instanceof Error && 'code' in error && error.code === 'upstream_locked')) throw error;
    }
  }
}

export async function collect<Entry>(entries: AsyncIterable<Entry>): Promise<Entry[]> {
  const all: Entry[] = [];
  for await (const entry of entries) all.push(entry);
  return all;
}
