/** The npm package node-pop3, from the folder in the first argument. It hands out one string for each mail. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Job, Tally } from '../job.ts';

interface NodePop3 {
  RETR(number: number): Promise<string>;
  STAT(): Promise<string>;
  QUIT(): Promise<string>;
}

const [folder = '', jobText = ''] = process.argv.slice(2);
const job = JSON.parse(jobText) as Job;
const loaded = createRequire(`${folder}/`)('node-pop3') as { default?: unknown };
const Client = (loaded.default ?? loaded) as new (settings: object) => NodePop3;

function open(): NodePop3 {
  const { host, port, username: user, password } = job;
  const tls = job.caPath === null ? {} : { tls: true, tlsOptions: { ca: readFileSync(job.caPath) } };
  return new Client({ host, port, user, password, ...tls });
}

async function fetchMaildrop(): Promise<Tally> {
  const client = open();
  let octets = 0;
  for (let number = 1; number <= job.messages; number += 1) octets += Buffer.byteLength(await client.RETR(number));
  await client.QUIT();
  return { messages: job.messages, octets };
}

async function pollAll(): Promise<Tally> {
  let left = job.polls;
  const pollInTurn = async (): Promise<void> => {
    while (left-- > 0) {
      const client = open();
      await client.STAT();
      await client.QUIT();
    }
  };
  await Promise.all(Array.from({ length: job.pollsAtOnce }, pollInTurn));
  return { messages: job.polls, octets: 0 };
}

if (job.startOnly !== true) process.stdout.write(JSON.stringify(await (job.polls > 0 ? pollAll() : fetchMaildrop())));
