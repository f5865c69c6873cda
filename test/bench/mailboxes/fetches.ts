/**
 * npm run bench:mailboxes, second part: what a stored mailbox takes in Redis, all in; what a fetch of it costs that finds nothing new; and
 * what a ledger of 100,000 unique-ids takes, to be read, held against a listing, and written. Prints a table and the bounds that are kept.
 *
 *     --mailboxes 40000   --polls 40000   --entries 100000   --concurrency 20
 */
import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { parseEgressAllow } from '../../../src/egress/allow-rule.ts';
import { createEgressPolicy } from '../../../src/egress/policy.ts';
import { createDueIndex } from '../../../src/fetch/due-index.ts';
import { createFetchStore } from '../../../src/fetch/fetch-store.ts';
import { createHostSlots } from '../../../src/fetch/host-slots.ts';
import { createLeases } from '../../../src/fetch/lease.ts';
import type { LedgerEntry } from '../../../src/fetch/ledger.ts';
import { createMailboxLedger } from '../../../src/fetch/mailbox-ledger.ts';
import { createMailboxSchedule } from '../../../src/fetch/mailbox-schedule.ts';
import { createFetchOf } from '../../../src/fetch/new-fetch.ts';
import { createPipeliningMemory } from '../../../src/fetch/pipelining-memory.ts';
import { planFetch } from '../../../src/fetch/plan.ts';
import { runMailbox, type RunMailboxPorts } from '../../../src/fetch/run-mailbox.ts';
import { createCredentialStore } from '../../../src/mailbox/credentials.ts';
import { freshStatus, type Mailbox, type MailboxSettings } from '../../../src/mailbox/mailbox.ts';
import { createMailboxStore } from '../../../src/mailbox/mailbox-store.ts';
import { createSealer } from '../../../src/mailbox/sealing.ts';
import { maildropOf } from '../../../src/mailbox/source.ts';
import { createBlobStore } from '../../../src/message/blobs/blob-store-choice.ts';
import { createMessageStore } from '../../../src/message/message-store.ts';
import { isRedisUnavailable, openRedis } from '../../../src/redis/connection.ts';
import { mailboxKeys } from '../../../src/redis/keys.ts';
import { announcements } from '../../support/events.ts';
import { startRedis } from '../../support/redis.ts';

const { values: options } = parseArgs({
  options: {
    mailboxes: { type: 'string', default: '40000' },
    polls: { type: 'string', default: '40000' },
    entries: { type: 'string', default: '100000' },
    concurrency: { type: 'string', default: '20' },
  },
});
const count = Number(options.mailboxes);
const polls = Math.min(Number(options.polls), count);
const entries = Number(options.entries);
/** Of Redis, for a mailbox, its ledger aside; and for each unique-id of a ledger. */
const MAILBOX_BYTES_MAX = 1024;
const ENTRY_BYTES_MAX = 100;
const logger = pino({ level: 'silent' });
const clock = { now: () => Date.now(), sleep: async () => undefined };
const TENANT = 'default';

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

const server = await startRedis();
const redis = openRedis(server.url, logger);
await redis.connect();
const folder = await mkdtemp(join(tmpdir(), 'popbridge-bench-'));
const script = fileURLToPath(new URL('empty-server.ts', import.meta.url));
const pop3 = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [line] = (await once(pop3.stdout, 'data')) as [Buffer];
const port = Number(line.toString());

const sealer = createSealer(`k1:${randomBytes(32).toString('base64')}`);
const records = createFetchStore(redis);
const mailboxes = createMailboxStore(redis, sealer);
const ledger = createMailboxLedger(redis, records);
const schedule = createMailboxSchedule({ due: createDueIndex(redis), clock });
const egress = createEgressPolicy({ allow: parseEgressAllow('127.0.0.0/8:*') });
const blobs = createBlobStore({ kind: 'file' }, { redis, dataDir: folder });
const ports: RunMailboxPorts = {
  clock,
  resolve: egress.resolvePop3,
  pipelining: createPipeliningMemory(clock),
  records,
  leases: createLeases(redis),
  hosts: createHostSlots(redis, {
    limitsOf: () => ({ connections: 1000, loginsPerSecond: 1000 }),
    random: Math.random,
  }),
  credentials: createCredentialStore(redis, sealer, 1000),
  logins: { open: async () => ({ secret: { password: 'p' }, renew: async () => null }) },
  mailboxes: { ...mailboxes, ledger, planNext: schedule.planNext },
  messages: createMessageStore({ redis, sealer, clock, blobs, quota: { messages: 0, bytes: 0 } }),
  parse: () => Promise.reject(new Error('There is no mail to be parsed')),
  durability: { begin: () => Promise.reject(new Error('Nothing is deleted')) },
  announce: announcements(),
  isStorageAway: isRedisUnavailable,
  logger,
  uniqueId: randomUUID,
  schedule,
  stored: mailboxes,
  createFetch: (mailbox) => createFetchOf({ clock, random: randomBytes, records }, mailbox, 'schedule'),
};

function settingsOf(number: number): MailboxSettings {
  return {
    name: null,
    source: { host: '127.0.0.1', port, tls: 'none', username: `customer-${number}@example.com`, ca: null },
    schedule: { every: '5m' },
    isPaused: false,
    firstFetch: 'all',
    delete: 'never',
    isDryRun: false,
    limits: { messages: 10_000, bytes: 2 ** 30, messageBytes: 50 * 2 ** 20, seconds: 600 },
    retentionMs: 7 * 86_400_000,
  };
}

async function usedBytes(): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
}

async function keyBytes(key: string): Promise<number> {
  return Number(await redis.call('MEMORY', 'USAGE', key));
}

async function redisCpuS(): Promise<number> {
  const info = await redis.info('cpu');
  return ['user', 'sys'].reduce(
    (sum, kind) => sum + Number(new RegExp(`used_cpu_${kind}:([\\d.]+)`).exec(info)?.[1]),
    0,
  );
}

async function inTurns(times: number, concurrency: number, work: (number: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < times) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
}

const made: Mailbox[] = [];
async function make(number: number): Promise<void> {
  const settings = settingsOf(number);
  const now = new Date(clock.now()).toISOString();
  const mailbox = maildropOf(TENANT, settings.source);
  const one: Mailbox = { tenant: TENANT, mailbox, settings, status: freshStatus(now), createdAt: now, updatedAt: now };
  await mailboxes.create(one, { type: 'password', password: 'correct horse battery' });
  await schedule.plan(one);
  made.push(one);
}

async function measurePolls(): Promise<{ wallS: number; cpuS: number; redisS: number }> {
  const shutdown = { windUp: new AbortController().signal, cut: new AbortController().signal };
  const redisBefore = await redisCpuS();
  const before = process.cpuUsage();
  const fromMs = performance.now();
  await inTurns(polls, Number(options.concurrency), async (number) => {
    const next = await runMailbox(ports, made[number] as Mailbox, shutdown);
    if (next !== null) throw new Error('A poll did not end');
  });
  const { user, system } = process.cpuUsage(before);
  const wallS = (performance.now() - fromMs) / 1000;
  return { wallS, cpuS: (user + system) / 1e6, redisS: (await redisCpuS()) - redisBefore };
}

/** Unique-ids as Dovecot makes them. */
const uidlOf = (at: number): string => `${(at + 1).toString(16).padStart(8, '0')}66a1b2c3`;

async function measureLedger(): Promise<{ bytes: number; readMs: number; diffMs: number; writeMs: number }> {
  const [first] = made;
  if (!first) throw new Error('There is no mailbox');
  const ref = { tenant: TENANT, mailboxId: first.mailbox };
  const token = Date.now() * 1000;
  await mailboxes.begin(first, token);
  const known = new Map(
    Array.from({ length: entries }, (_, at): [string, LedgerEntry] => [
      `uidl:0:${uidlOf(at)}`,
      {
        state: 'stored',
        at: 1_764_000_000 + at,
        bytes: 2000 + ((at * 7919) % 90_000),
        ownId: null,
        digest: randomBytes(12).toString('hex'),
        keptUntil: 1_764_604_800 + at,
        isReleased: false,
        absent: null,
      },
    ]),
  );
  const timed = async <T>(work: () => Promise<T> | T): Promise<[number, T]> => {
    const fromMs = performance.now();
    const result = await work();
    return [performance.now() - fromMs, result];
  };
  const [writeMs] = await timed(() => ledger.replace(ref, token, known));
  const bytes = (await keyBytes(mailboxKeys(TENANT, first.mailbox).ledger)) / entries;
  const [readMs, read] = await timed(() => ledger.read(ref));
  const listing = Array.from({ length: entries }, (_, at) => ({
    number: at + 1,
    bytes: 2000 + ((at * 7919) % 90_000),
    uidl: uidlOf(at),
  }));
  const [diffMs, plan] = await timed(() =>
    planFetch(listing, read?.entries ?? new Map<string, LedgerEntry>(), settingsOf(0), {
      messages: 0,
      bytes: 0,
    }),
  );
  if (plan.stored.length !== entries) throw new Error('The ledger does not know its own');
  return { bytes, readMs, diffMs, writeMs };
}

try {
  const empty = await usedBytes();
  await inTurns(count, 200, make);
  const newBytes = ((await usedBytes()) - empty) / count;
  const poll = await measurePolls();
  // The fence of a lease lasts for a day. Its ledger is counted apart.
  const ledgerBytes = await keyBytes(mailboxKeys(TENANT, (made[0] as Mailbox).mailbox).ledger);
  const polledBytes = newBytes + ((await usedBytes()) - empty - newBytes * count) / polls - ledgerBytes;
  const held = await measureLedger();
  const cpuUs = (poll.cpuS / polls) * 1e6;
  print(`\nFetches of an empty maildrop on loopback, ${options.concurrency} at once, without the queue:`);
  print(
    `${(polls / poll.wallS).toFixed(0)}/s; ${cpuUs.toFixed(0)} us of CPU each, so ${(1e6 / cpuUs).toFixed(0)}/s and core; ${((poll.redisS / polls) * 1e6).toFixed(0)} us of Redis each`,
  );
  print(
    `A ledger of ${entries}: read ${held.readMs.toFixed(0)} ms, held against its listing ${held.diffMs.toFixed(0)} ms, written ${held.writeMs.toFixed(0)} ms`,
  );
  print('\n| bound | measured | kept |\n| --- | ---: | --- |');
  for (const [what, bound, measured] of [
    ['bytes a mailbox, new', MAILBOX_BYTES_MAX, newBytes],
    ['bytes a mailbox, fetched a moment ago', MAILBOX_BYTES_MAX, polledBytes],
    ['bytes an entry of a ledger', ENTRY_BYTES_MAX, held.bytes],
  ] as const) {
    print(`| ${what}, ${bound} | ${measured.toFixed(0)} | ${measured <= bound ? 'yes' : 'NO'} |`);
  }
  const perMillion = (1e6 / 300) * (cpuUs / 1e6);
  print(
    `\nBy calculation: a million mailboxes every 5 minutes are 3,333 fetches/s, ${perMillion.toFixed(1)} cores of workers for these`,
  );
} finally {
  pop3.kill();
  redis.disconnect();
  await server.close();
  await rm(folder, { recursive: true, force: true });
}
