/** The client against the scripted server: what every test of it needs. All of it is closed when the test is over. */

import { onTestFinished } from 'vitest';
import { Pop3Client } from '../../src/pop3/index.ts';
import type { Pop3Options, Pop3Settings } from '../../src/pop3/index.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import type { FakePop3, FakePop3Options } from '../support/fake-pop3.ts';

export const PASSWORD = 'pass hunter2 ü';

export async function startFake(options: FakePop3Options = {}): Promise<FakePop3> {
  const fake = await startFakePop3(options);
  onTestFinished(() => fake.close());
  return fake;
}

/** Plain and without CAPA, unless `settings` say otherwise. */
export async function connect(
  server: { readonly host: string; readonly port: number },
  settings: Partial<Pop3Settings> = {},
  options: Pop3Options = {},
): Promise<Pop3Client> {
  const { host, port } = server;
  const all: Pop3Settings = {
    host,
    port,
    tls: 'none',
    username: 'u',
    password: PASSWORD,
    skipCapa: true,
    ...settings,
  };
  const client = await Pop3Client.connect(all, options);
  onTestFinished(() => client.close());
  return client;
}

export async function logIn(...args: Parameters<typeof connect>): Promise<Pop3Client> {
  const client = await connect(...args);
  await client.login();
  return client;
}

export async function readAll(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function retrieveAll(client: Pop3Client, number: number): Promise<Buffer> {
  return readAll(await client.retrieve(number));
}

/** What `work` rejects with. Throws when it does not. */
export async function failureOf(work: Promise<unknown>): Promise<Error> {
  const outcome = await work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ('error' in outcome && outcome.error instanceof Error) return outcome.error;
  throw new Error(`It was to fail with an error, and gave ${JSON.stringify(outcome)}.`);
}
