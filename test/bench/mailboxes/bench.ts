/**
 * npm run bench:mailboxes: what it takes to have very many mailboxes fetched every few minutes, without the fetches themselves. Puts
 * them into the due index; times how fast what is due becomes jobs; and runs ticks and a worker, whose fetches do nothing but
 * put the next time, for a while. Prints tables and the bound that is kept, and writes data/bench-mailboxes.json. It fails on no
 * time: a machine with other work to do measures that work.
 *
 *     --mailboxes 100000   --every 5m   --seconds 60 (simulated)   --speed 1 (simulated seconds in a real one; lags grow with it)
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { createDueIndex } from '../../../src/fetch/due-index.ts';
import { claimMailboxesMax, mailboxShards } from '../../../src/fetch/limits.ts';
import { createMailboxQueues, MAILBOX_QUEUES } from '../../../src/fetch/mailbox-queues.ts';
import type { ScheduleSettings } from '../../../src/mailbox/policies.ts';
import { firstDue, nextDue, parseSchedule } from '../../../src/fetch/schedule.ts';
import type { MailboxRef } from '../../../src/mailbox/mailbox.ts';
import { startTicker, tickOnce, type TickPorts } from '../../../src/fetch/tick.ts';
import { createFetchWorker } from '../../../src/fetch/worker.ts';
import { mailboxId } from '../../../src/identity.ts';
import { isRedisUnavailable, openBlockingRedis, openRedis } from '../../../src/redis/connection.ts';
import { startRedis } from '../../support/redis.ts';

const { values: options } = parseArgs({
  options: {
    mailboxes: { type: 'string', default: '100000' },
    every: { type: 'string', default: '5m' },
    seconds: { type: 'string', default: '60' },
    speed: { type: 'string', default: '1' },
  },
});
const count = Number(options.mailboxes);
const speed = Number(options.speed);
const schedule = parseSchedule({ every: options.every });
const OUTPUT = fileURLToPath(new URL('../../../data/bench-mailboxes.json', import.meta.url));
/** Of the due index, for each mailbox. */
const REDIS_BYTES_MAX = 150;
const IDLE_S = 5;
const START_MS = Date.parse('2026-03-10T09:30:00Z');
const logger = pino({ level: 'silent' });

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

const server = await startRedis();
const redis = openRedis(server.url, logger);
await redis.connect();
const blocking = openBlockingRedis(server.url, logger);
const due = createDueIndex(redis);
const queues = await createMailboxQueues(redis, logger);

async function readInfo(section: string, name: string): Promise<number> {
  return Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(await redis.info(section))?.[1]);
}
const usedBytes = (): Promise<number> => readInfo('memory', 'used_memory');
const redisCpuS = async (): Promise<number> =>
  (await readInfo('cpu', 'used_cpu_user')) + (await readInfo('cpu', 'used_cpu_sys'));

interface Taken {
  wallS: number;
  cpuS: number;
  redisCpuS: number;
}

async function measure(work: () => Promise<unknown>): Promise<Taken> {
  const redisBefore = await redisCpuS();
  const before = process.cpuUsage();
  const fromMs = performance.now();
  await work();
  const wallS = (performance.now() - fromMs) / 1000;
  const { user, system } = process.cpuUsage(before);
  return { wallS, cpuS: (user + system) / 1e6, redisCpuS: (await redisCpuS()) - redisBefore };
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function describeLag(lags: readonly number[]): { p50: number; p99: number; max: number } {
  const sorted = lags.toSorted((a, b) => a - b);
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), max: percentile(sorted, 1) };
}

/** What a next time costs, in microseconds. */
function timeNextDue(settings: ScheduleSettings, times: number): number {
  const fromMs = performance.now();
  for (let number = 0; number < times; number += 1) {
    const facts = {
      quietFetches: number % 20,
      lastLoginMs: START_MS + number * 1000,
      loginGapsMs: [0],
      expireDays: Infinity,
    };
    nextDue(parseSchedule(settings), `mbx_${number}`, START_MS + number * 1000, facts);
  }
  return ((performance.now() - fromMs) / times) * 1000;
}

function portsOf(now: () => number, over: Partial<TickPorts> = {}): TickPorts {
  return {
    due,
    queues,
    clock: { now, sleep: (ms, signal) => delay(ms / speed, undefined, { signal }) },
    random: Math.random,
    owner: 'bench',
    isStorageAway: isRedisUnavailable,
    logger,
    ...over,
  };
}

const refs = Array.from({ length: count }, (_, number): MailboxRef => {
  const source = { host: `pop${number % 100}.example.com`, port: 995, username: `user${number}@example.com` };
  return { tenant: 'default', mailbox: mailboxId('default', source) };
});

async function putAll(): Promise<void> {
  for (let from = 0; from < count; from += 1000) {
    const page = refs.slice(from, from + 1000);
    await Promise.all(page.map((ref) => due.put(ref, firstDue(schedule, ref.mailbox, START_MS))));
  }
}

/** All mailboxes overdue, and one process that adds them, flat out. */
async function addAll(): Promise<void> {
  const never = new AbortController().signal;
  const flatOut = { ...queues, countWaiting: async () => 0 };
  const ports = portsOf(() => START_MS + 31 * 86_400_000, { queues: flatOut });
  for (let shard = 0; shard < mailboxShards; shard += 1) {
    let hasMore = true;
    while (hasMore) {
      hasMore = (await tickOnce({ ...ports, due: { ...due, takeTurn: async () => true } }, shard, never)) === 'full';
    }
  }
}

/** Ticks and a worker, side by side in this process, over simulated seconds. */
async function run(simulatedS: number): Promise<{ taken: Taken; addedLags: number[]; startedLags: number[] }> {
  const originMs = performance.now();
  const now = (): number => START_MS + (performance.now() - originMs) * speed;
  const addedLags: number[] = [];
  const startedLags: number[] = [];
  const worker = await createFetchWorker<MailboxRef>({
    queues: MAILBOX_QUEUES,
    blocking,
    concurrency: 20,
    async run(ref) {
      const nowMs = Math.floor(now());
      const facts = { quietFetches: 0, lastLoginMs: nowMs, loginGapsMs: [], expireDays: Infinity };
      await due.put(ref, nextDue(schedule, ref.mailbox, nowMs, facts));
      return null;
    },
    abandon: async () => undefined,
    observeLag: (lagMs) => void startedLags.push(lagMs),
    clock: { now },
    logger,
  });
  const ticker = startTicker(portsOf(() => Math.floor(now()), { observeLag: (lagMs) => void addedLags.push(lagMs) }));
  const taken = await measure(() => delay((simulatedS / speed) * 1000));
  await ticker.close();
  await worker.close(5_000);
  return { taken, addedLags, startedLags };
}

try {
  print(`Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}; ${count} mailboxes every ${options.every}`);
  const connectionsBefore = await readInfo('clients', 'connected_clients');
  const empty = await usedBytes();
  const put = await measure(putAll);
  const dueBytes = ((await usedBytes()) - empty) / count;
  const add = await measure(addAll);
  const jobBytes = ((await usedBytes()) - empty) / count - dueBytes;
  const perS = (taken: Taken, done: number): string => (done / taken.wallS).toFixed(0);
  const perUs = (s: number, done: number): string => ((s / done) * 1e6).toFixed(0);
  print('\n| what | mailboxes/s | CPU us each | Redis CPU us each |\n| --- | ---: | ---: | ---: |');
  for (const [what, taken] of [
    ['put into the due index', put],
    [`claim and add, ${claimMailboxesMax} at a time`, add],
  ] as const) {
    print(`| ${what} | ${perS(taken, count)} | ${perUs(taken.cpuS, count)} | ${perUs(taken.redisCpuS, count)} |`);
  }
  const every = timeNextDue({ every: '5m', adaptive: { everyMax: '1h' } }, 20_000);
  const cron = timeNextDue({ cron: '0 8 * * 1-5', timeZone: 'Europe/Berlin' }, 1_000);
  print(`\nA next time takes ${every.toFixed(1)} us by \`every\`, ${cron.toFixed(0)} us by cron`);
  print(
    `Redis: ${dueBytes.toFixed(0)} bytes a mailbox in the due index, ${jobBytes.toFixed(0)} bytes a job that waits`,
  );

  await redis.flushall();
  await putAll();
  const seconds = Number(options.seconds);
  const { taken, addedLags, startedLags } = await run(seconds);
  const [added, started] = [describeLag(addedLags), describeLag(startedLags)];
  print(`\n${seconds} simulated seconds in ${taken.wallS.toFixed(0)}: ${startedLags.length} fetches that do nothing\n`);
  print('| how late, ms | p50 | p99 | most |\n| --- | ---: | ---: | ---: |');
  for (const [what, lag] of [
    ['added to a queue', added],
    ['taken up by the worker', started],
  ] as const) {
    print(`| ${what} | ${lag.p50.toFixed(0)} | ${lag.p99.toFixed(0)} | ${lag.max.toFixed(0)} |`);
  }
  const [cpuUs, redisCpuUs] = [perUs(taken.cpuS, startedLags.length), perUs(taken.redisCpuS, startedLags.length)];
  print(`\nCPU: ${cpuUs} us a fetch in this process, ${redisCpuUs} us in Redis`);

  await redis.flushall();
  const commandsBefore = await readInfo('stats', 'total_commands_processed');
  const idling = run(IDLE_S * speed);
  await delay((IDLE_S * 1000) / 2);
  const connections = (await readInfo('clients', 'connected_clients')) - connectionsBefore;
  const idle = (await idling).taken;
  const commandsPerS = ((await readInfo('stats', 'total_commands_processed')) - commandsBefore) / IDLE_S;
  print(
    `Idle, a worker and its ticks: ${connections} connections, ${commandsPerS.toFixed(0)} commands/s (those within scripts too), ${((idle.cpuS / IDLE_S) * 100).toFixed(1)} % of a core, ${((idle.redisCpuS / IDLE_S) * 100).toFixed(1)} % in Redis`,
  );

  const isKept = dueBytes <= REDIS_BYTES_MAX;
  print('\n| bound | measured | kept |\n| --- | ---: | --- |');
  print(`| bytes a mailbox in the due index, ${REDIS_BYTES_MAX} | ${dueBytes.toFixed(0)} | ${isKept ? 'yes' : 'NO'} |`);
  await mkdir(join(OUTPUT, '..'), { recursive: true });
  const facts = { date: new Date().toISOString(), node: process.version, cpu: cpus()[0]?.model, cpus: cpus().length };
  const results = { put, add, dueBytes, jobBytes, every, cron, taken, added, started, connections, commandsPerS, idle };
  await writeFile(OUTPUT, JSON.stringify({ ...facts, options, ...results }, null, 2));
} finally {
  await queues.close();
  redis.disconnect();
  blocking.disconnect();
  await server.close();
}
