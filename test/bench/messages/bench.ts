/**
 * npm run bench:messages: what parsing and storing take, each as a process of its own, side by side with the parser library alone;
 * what a message costs in Redis; and what a page out of very many takes. Prints tables and the bounds that are kept, and writes
 * data/bench-messages.json. It fails on no time: a machine with other work to do measures that work.
 *
 *     --kinds small,medium,large   --runs 3   --records 1000000 (0 leaves the list out)   --scale 1 (of the messages of each run)
 */
import { Redis } from 'ioredis';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { startRedis } from '../../support/redis.ts';
import { measureList } from './list.ts';
import { MAIL_KINDS } from './mails.ts';
import type { Measured, Scenario } from './scenario.ts';

const { values: options } = parseArgs({
  options: {
    kinds: { type: 'string', default: MAIL_KINDS.map(({ name }) => name).join() },
    runs: { type: 'string', default: '3' },
    records: { type: 'string', default: '1000000' },
    scale: { type: 'string', default: '1' },
  },
});
const runs = Number(options.runs);
const records = Number(options.records);
const OUTPUT = fileURLToPath(new URL('../../../data/bench-messages.json', import.meta.url));
const SCENARIO = fileURLToPath(new URL('scenario.ts', import.meta.url));
const SIDE_BY_SIDE = ['library', 'parse', 'pool', 'store', 'store one by one'] as const;
/** Of Redis, for each stored message, with all indexes. */
const REDIS_BYTES_MAX = 1536;
/** Of the CPU that parsing and storing take together. */
const OVERHEAD_MAX = 0.35;
/** What these store, or read, stays. */
const KEEPING: ReadonlySet<Scenario['name']> = new Set(['keep', 'read content', 'parse again']);
const run = promisify(execFile);

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const folder = await mkdtemp(join(tmpdir(), 'popbridge-bench-'));
const server = await startRedis();
const redis = new Redis(server.url);

async function measure(scenario: Omit<Scenario, 'redisPath' | 'folder'>): Promise<Measured> {
  const blobs = join(folder, 'blobs');
  const given = JSON.stringify({ ...scenario, redisPath: server.url, folder: blobs });
  const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', SCENARIO, given]);
  if (!KEEPING.has(scenario.name)) {
    await redis.flushall();
    await rm(blobs, { recursive: true, force: true });
  }
  return JSON.parse(stdout) as Measured;
}

/** Medians of the runs of each, taken in turn, so that what disturbs the machine disturbs all of them. */
async function compare(kind: string, messages: number): Promise<Map<string, Measured>> {
  const all = new Map<string, Measured[]>();
  for (let round = 0; round < runs; round += 1) {
    for (const name of SIDE_BY_SIDE) all.set(name, [...(all.get(name) ?? []), await measure({ name, kind, messages })]);
  }
  const middle = (each: readonly Measured[], key: keyof Measured): number => median(each.map((one) => one[key]));
  return new Map(
    Array.from(all, ([name, each]) => [
      name,
      {
        messages: middle(each, 'messages'),
        bytes: middle(each, 'bytes'),
        wallS: middle(each, 'wallS'),
        cpuS: middle(each, 'cpuS'),
        rssPeakMb: middle(each, 'rssPeakMb'),
      },
    ]),
  );
}

/** What Redis holds more for each of so many messages. */
async function measureRedis(group: number, messages: number): Promise<number> {
  await redis.flushall();
  const used = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
  const before = await used();
  await measure({ name: 'keep', kind: 'small', messages, group });
  const bytes = ((await used()) - before) / messages;
  await redis.flushall();
  await rm(join(folder, 'blobs'), { recursive: true, force: true });
  return bytes;
}

/** Whether it pays to keep the parsed content beside the raw bytes: what reading it takes, and what it takes up. */
async function measureReading(kind: string, messages: number): Promise<void> {
  const { bytes } = await measure({ name: 'keep', kind, messages });
  const blobs = join(folder, 'blobs');
  const { stdout } = await run('du', ['-sb', blobs]);
  const stored = Number(stdout.split('\t')[0]);
  const [read, again] = [await measure({ name: 'read content', kind }), await measure({ name: 'parse again', kind })];
  await redis.flushall();
  await rm(blobs, { recursive: true, force: true });
  const per = (each: Measured): string => ((each.cpuS / messages) * 1e6).toFixed(0);
  print(
    `${kind}: stored, raw bytes and content take ${((stored / bytes) * 100).toFixed(0)} % of the raw bytes; a reader takes ${per(read)} us of CPU to read the content, ${per(again)} us to parse again`,
  );
}

try {
  const results: Record<string, unknown> = {};
  print(`Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}; ${runs} runs, medians`);
  const bounds: [what: string, value: string, isKept: boolean][] = [];
  for (const { name: kind, messages } of MAIL_KINDS.filter((each) => options.kinds.split(',').includes(each.name))) {
    const measured = await compare(kind, Math.ceil(messages * Number(options.scale)));
    const [library, pool, store] = ['library', 'pool', 'store'].map((name) => measured.get(name)) as [
      Measured,
      Measured,
      Measured,
    ];
    print(`\n${kind}: ${store.messages} messages, ${(store.bytes / 1e6).toFixed(1)} MB\n`);
    print('| what | messages/s | MB/s | wall s | CPU s | RSS peak MB |\n| --- | ---: | ---: | ---: | ---: | ---: |');
    for (const [name, { messages: done, bytes, wallS, cpuS, rssPeakMb }] of measured) {
      const rates = [done / wallS, bytes / 1e6 / wallS, wallS, cpuS, rssPeakMb];
      print(`| ${name} | ${rates.map((rate, at) => rate.toFixed(at === 0 || at === 4 ? 0 : 2)).join(' | ')} |`);
    }
    const overhead = (store.cpuS - pool.cpuS) / store.cpuS;
    print(
      `\nparse and store on ${cpus().length} cores against the library alone: ${(library.wallS / store.wallS).toFixed(2)} times as fast`,
    );
    bounds.push([
      `${kind}: storing, hashing and sealing, of all CPU`,
      `${(overhead * 100).toFixed(0)} %`,
      overhead < OVERHEAD_MAX,
    ]);
    results[kind] = Object.fromEntries(measured);
  }

  const idle = await measure({ name: 'idle', kind: 'small', messages: 0 });
  const huge = await measure({ name: 'huge', kind: 'small' });
  const flight = await measure({ name: 'in-flight', kind: 'medium', messages: 1000 });
  const above = (each: Measured, own: number): string =>
    `${(each.rssPeakMb - idle.rssPeakMb - own).toFixed(0)} MB above bare Node`;
  print(`\nRSS peak, one message of 50 MiB that comes in pieces: ${huge.rssPeakMb.toFixed(0)} MB, ${above(huge, 0)}`);
  const own = flight.bytes / 1024 / 1024;
  print(
    `RSS peak, 1,000 messages of ${(flight.bytes / 1000 / 1024).toFixed(0)} KiB in flight: ${flight.rssPeakMb.toFixed(0)} MB, ${above(flight, own)} and the messages`,
  );

  const grouped = await measureRedis(64, 20_000);
  const single = await measureRedis(1, 10_000);
  print(
    `Redis: ${grouped.toFixed(0)} bytes a message that is stored with others, ${single.toFixed(0)} one that is stored alone`,
  );
  bounds.push(['Redis bytes of a message, stored with others', grouped.toFixed(0), grouped <= REDIS_BYTES_MAX]);
  bounds.push(['Redis bytes of a message, stored alone', single.toFixed(0), single <= REDIS_BYTES_MAX]);

  for (const { name, messages } of MAIL_KINDS.slice(0, 2)) {
    await measureReading(name, Math.ceil(messages * Number(options.scale)));
  }

  if (records > 0) {
    const list = await measureList(redis, records, print);
    results['list'] = list;
    print(`\nA page of 25 out of ${records} records, median and slowest of ${list.pages} pages each, in ms:\n`);
    print('| page | median | slowest |\n| --- | ---: | ---: |');
    for (const [what, { medianMs, slowestMs }] of Object.entries(list.times))
      print(`| ${what} | ${medianMs.toFixed(1)} | ${slowestMs.toFixed(1)} |`);
    print(`Redis: ${list.redisBytes.toFixed(0)} bytes a record`);
  }

  print('\n| bound | measured | kept |\n| --- | ---: | --- |');
  for (const [what, value, isKept] of bounds) print(`| ${what} | ${value} | ${isKept ? 'yes' : 'NO'} |`);
  await mkdir(join(OUTPUT, '..'), { recursive: true });
  const facts = { date: new Date().toISOString(), node: process.version, cpu: cpus()[0]?.model, cpus: cpus().length };
  await writeFile(
    OUTPUT,
    JSON.stringify({ ...facts, options, results, idle, huge, flight, grouped, single, bounds }, null, 2),
  );
} finally {
  redis.disconnect();
  await server.close();
  await rm(folder, { recursive: true, force: true });
}
