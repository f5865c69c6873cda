/** The npm package yapople, from the folder in the first argument. It hands out one Buffer for each mail. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Job } from '../job.ts';

interface Yapople {
  connect(): Promise<unknown>;
  retr(number: number): Promise<Buffer>;
  disconnect(): Promise<unknown>;
}

const [folder = '', jobText = ''] = process.argv.slice(2);
const job = JSON.parse(jobText) as Job;
const { Client } = createRequire(`${folder}/`)('yapople') as { Client: new (settings: object) => Yapople };

const { host, port, username, password } = job;
const tls = job.caPath === null ? {} : { tls: true, options: { ca: readFileSync(job.caPath) } };
const client = new Client({ host, port, username, password, ...tls });
await client.connect();
let octets = 0;
for (let number = 1; number <= job.messages; number += 1) {
  octets += (await client.retr(number)).length;
}
await client.disconnect();
process.stdout.write(JSON.stringify({ messages: job.messages, octets }));
