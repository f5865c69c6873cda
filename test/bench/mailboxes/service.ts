/**
 * npm run bench:mailboxes, third part: the whole service over some real minutes. Its API and its workers are real processes with a
 * real Redis, its mailboxes are imported, and all are fetched by their schedule over loopback from a server that has no mail. How
 * late a fetch is, is seen from outside: the time of the login against the mailbox's own place in its period.
 *
 *     --mailboxes 100000   --every 5m   --minutes 10   --workers 2   --concurrency 50
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { phaseOf } from '../../../src/fetch/shard.ts';
import { mailboxKeys } from '../../../src/redis/keys.ts';
import { openRedis } from '../../../src/redis/connection.ts';
import { startRedis } from '../../support/redis.ts';
import { startService, type Service } from '../../support/service.ts';

const { values: options } = parseArgs({
  options: {
    mailboxes: { type: 'string', default: '100000' },
    every: { type: 'string', default: '5m' },
    minutes: { type: 'string', default: '10' },
    workers: { type: 'string', default: '2' },
    concurrency: { type: 'string', default: '50' },
  },
});
const count = Number(options.mailboxes);
const periodMs = Number.parseInt(options.every, 10) * 60_000;
const minutes = Number(options.minutes);
const LINES = 5000;
/** Bytes of Redis a mailbox, its ledger aside. */
const MAILBOX_BYTES_MAX = 1024;
const TICKS_PER_S = 100;
const OUTPUT = fileURLToPath(new URL('../../../data/bench-mailboxes-service.json', import.meta.url));
const logger = pino({ level: 'silent' });

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** User and system time of a process by now, in seconds. */
async function cpuS(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** By user name, the place of its mailbox in the period, in milliseconds. */
const places = new Map<string, number>();
let someMailbox = '';
const lagsMs: number[] = [];
let isMeasuring = false;

const script = fileURLToPath(new URL('login-server.ts', import.meta.url));
const pop3 = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const lines = createInterface({ input: pop3.stdout });
const [port] = (await once(lines, 'line')).map(Number);
lines.on('line', (line) => {
  const [user = '', atMs] = line.split(' ');
  const place = places.get(user);
  if (!isMeasuring || place === undefined) return;
  lagsMs.push((((Number(atMs) - place) % periodMs) + periodMs) % periodMs);
});

const redisServer = await startRedis();
const redis = openRedis(redisServer.url, logger);
await redis.connect();
const env = {
  POPBRIDGE_EGRESS_ALLOW: '127.0.0.0/8:*',
  POPBRIDGE_FETCH_CONCURRENCY: options.concurrency,
  POPBRIDGE_HOST_CONNECTIONS: '1000',
  POPBRIDGE_HOST_LOGINS_PER_SECOND: '1000',
};
const started: Service[] = [];

async function usedBytes(): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
}

/** Of the ledger of an empty maildrop, which each has by then. */
async function ledgerBytes(): Promise<number> {
  return Number(await redis.call('MEMORY', 'USAGE', mailboxKeys('default', someMailbox).ledger));
}

async function importAll(api: Service): Promise<void> {
  for (let from = 0; from < count; from += LINES) {
    const users = Array.from({ length: Math.min(LINES, count - from) }, (_, at) => `u${from + at}@example.com`);
    const body = users.map((username) =>
      JSON.stringify({
        source: { host: '127.0.0.1', port, tls: 'none', username, password: 'correct horse battery' },
        schedule: { every: options.every },
      }),
    );
    const headers = { 'content-type': 'application/x-ndjson' };
    const answer = await api.api('POST', '/v1/mailboxes/import', { headers, body: body.join('\n') });
    if (answer.status !== 200) throw new Error(answer.text);
    const { items } = answer.json() as { items: { id: string | null }[] };
    items.forEach(({ id }, at) => {
      if (id === null) throw new Error(answer.text.slice(0, 1000));
      someMailbox = id;
      places.set(users[at] ?? '', Math.floor(phaseOf(id) * periodMs));
    });
  }
}

try {
  print(`Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}; ${count} mailboxes every ${options.every}`);
  const empty = await usedBytes();
  const fromMs = performance.now();
  const api = await startService({ redis: redisServer, env: { ...env, POPBRIDGE_ROLE: 'api' } });
  started.push(api);
  await importAll(api);
  print(`Imported in ${((performance.now() - fromMs) / 1000).toFixed(0)} s`);
  for (let number = 0; number < Number(options.workers); number += 1) {
    started.push(await startService({ redis: redisServer, env: { ...env, POPBRIDGE_ROLE: 'worker' } }));
  }
  // By then each has been fetched once, and what was overdue when the workers started is over.
  await delay(periodMs);

  const pids = started.filter((service) => service !== api).map(({ pid }) => pid);
  const cpuOf = async (): Promise<number> => (await Promise.all(pids.map(cpuS))).reduce((sum, s) => sum + s, 0);
  const [cpuBefore, redisBefore] = [await cpuOf(), await cpuS(redisServer.pid)];
  isMeasuring = true;
  await delay(minutes * 60_000);
  isMeasuring = false;
  const fetches = lagsMs.length;
  const [workerS, redisS] = [(await cpuOf()) - cpuBefore, (await cpuS(redisServer.pid)) - redisBefore];
  const sorted = lagsMs.toSorted((a, b) => a - b);
  const bytes = ((await usedBytes()) - empty) / count - (await ledgerBytes());
  const wanted = Math.round((count * minutes * 60_000) / periodMs);
  const share = (s: number): string => ((s / (minutes * 60)) * 100).toFixed(0);
  const perUs = (s: number): string => ((s / fetches) * 1e6).toFixed(0);

  print(`\n${minutes} minutes: ${fetches} fetches of ${wanted} that were due\n`);
  print('| from due to the login, ms | p50 | p99 | most |\n| --- | ---: | ---: | ---: |');
  print(`| fetches by schedule | ${[0.5, 0.99, 1].map((part) => quantile(sorted, part).toFixed(0)).join(' | ')} |`);
  print('\n| CPU | us a fetch | of a core, % |\n| --- | ---: | ---: |');
  print(`| ${pids.length} workers | ${perUs(workerS)} | ${share(workerS)} |`);
  print(`| Redis | ${perUs(redisS)} | ${share(redisS)} |`);
  print('\n| bound | measured | kept |\n| --- | ---: | --- |');
  print(
    `| bytes of Redis a mailbox, all in, its ledger aside, ${MAILBOX_BYTES_MAX} | ${bytes.toFixed(0)} | ${bytes <= MAILBOX_BYTES_MAX ? 'yes' : 'NO'} |`,
  );
  await mkdir(join(OUTPUT, '..'), { recursive: true });
  const facts = { date: new Date().toISOString(), node: process.version, cpu: cpus()[0]?.model, cpus: cpus().length };
  const lag = { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: quantile(sorted, 1) };
  await writeFile(
    OUTPUT,
    JSON.stringify({ ...facts, options, fetches, wanted, lagMs: lag, workerS, redisS, bytes }, null, 2),
  );
} finally {
  await Promise.all(started.map((service) => service.close()));
  redis.disconnect();
  await redisServer.close();
  pop3.kill();
}
