/** popbridge's client, by its public API. Every byte goes to a consumer that counts it. */

import { readFileSync } from 'node:fs';
import { Pop3Client } from '../../../../src/pop3/index.ts';
import type { ListEntry, Pop3Settings } from '../../../../src/pop3/index.ts';
import type { Job, Tally } from '../job.ts';

const job = JSON.parse(process.argv[2] ?? '') as Job;
const settings: Pop3Settings = {
  host: job.host,
  port: job.port,
  tls: job.caPath === null ? 'none' : 'implicit',
  username: job.username,
  password: job.password,
  ...(job.caPath !== null && { ca: readFileSync(job.caPath, 'utf8') }),
  // A poll says what the other programs say, and no more.
  skipCapa: job.polls > 0,
};

async function fetchAll(client: Pop3Client): Promise<Tally> {
  const wanted: ListEntry[] = [];
  for await (const entry of client.streamList()) wanted.push(entry);
  let octets = 0;
  for await (const { body, error } of client.retrieveAll(wanted)) {
    if (error !== null) throw error;
    for await (const chunk of body) octets += chunk.length;
  }
  return { messages: wanted.length, octets };
}

async function fetchMaildrop(): Promise<Tally> {
  const client = await Pop3Client.connect(settings, { chunks: 'lent' });
  await client.login();
  const tally = await fetchAll(client);
  await client.quit();
  return tally;
}

async function poll(): Promise<void> {
  const client = await Pop3Client.connect(settings);
  await client.login();
  await client.stat();
  await client.quit();
}

async function pollAll(): Promise<Tally> {
  let left = job.polls;
  const pollInTurn = async (): Promise<void> => {
    while (left-- > 0) await poll();
  };
  await Promise.all(Array.from({ length: job.pollsAtOnce }, pollInTurn));
  return { messages: job.polls, octets: 0 };
}

if (job.startOnly !== true) {
  const tally = await (job.polls > 0 ? pollAll() : fetchMaildrop());
  process.stdout.write(JSON.stringify(tally));
}
