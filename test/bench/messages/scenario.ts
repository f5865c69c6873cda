/**
 * One measurement in a process of its own: `node scenario.ts '{"name": "store", ...}'` prints what it took as JSON. Mails are made
 * before the clock starts.
 */
import { Redis } from 'ioredis';
import { MailParser } from 'mailparser';
import { availableParallelism } from 'node:os';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { finished } from 'node:stream/promises';
import { createSealer } from '../../../src/mailbox/sealing.ts';
import { createFileBlobStore } from '../../../src/message/blobs/file-blob-store.ts';
import { createMessageStore, type MessageStore } from '../../../src/message/message-store.ts';
import type { NewMessage } from '../../../src/message/new-message.ts';
import { parseMessage } from '../../../src/mime/parse.ts';
import { createMimePool, type MimePool } from '../../../src/mime/pool.ts';
import { MAIL_KINDS, makeHuge } from './mails.ts';

export interface Scenario {
  readonly name:
    | 'idle'
    | 'library'
    | 'parse'
    | 'pool'
    | 'store'
    | 'store one by one'
    | 'huge'
    | 'in-flight'
    | 'keep'
    | 'read content'
    | 'parse again';
  readonly kind: string;
  /** The whole, unless less is asked for. */
  readonly messages?: number;
  /** Of the test's Redis and its folder. */
  readonly redisPath: string;
  readonly folder: string;
  /** Messages that are stored together. */
  readonly group?: number;
}

export interface Measured {
  readonly messages: number;
  readonly bytes: number;
  readonly wallS: number;
  readonly cpuS: number;
  readonly rssPeakMb: number;
}

const scenario = JSON.parse(process.argv[2] ?? '{}') as Scenario;
const HUGE_BYTES = 50 * 1024 * 1024;
const RETENTION_MS = 7 * 24 * 60 * 60 * 1000;
const MAILBOXES = 20;
const kind = MAIL_KINDS.find(({ name }) => name === scenario.kind);
const count = scenario.messages ?? kind?.messages ?? 0;

/** One at a time, as the library by itself would be used. */
async function parseByLibrary(raw: Buffer): Promise<void> {
  const parser = new MailParser({
    checksumAlgo: 'sha256',
    skipHtmlToText: true,
    skipTextToHtml: true,
    skipTextLinks: true,
    skipImageLinks: true,
    keepDeliveryStatus: true,
  });
  parser.on('data', (data: { type: string; content?: Readable; release?: () => void }) => {
    if (data.type !== 'attachment') return;
    data.content?.resume();
    data.content?.once('end', () => data.release?.());
  });
  Readable.from([raw]).pipe(parser);
  await finished(parser);
}

/** At most so many at once, in order of their numbers. */
async function forAll<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, at: number) => Promise<void>,
): Promise<void> {
  const left = items.entries();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const [at, item] of left) await work(item, at);
    }),
  );
}

async function* given(chunks: Iterable<Buffer>): AsyncGenerator<Buffer> {
  yield* chunks;
}

async function* stream(raw: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < raw.length; at += 65_536) yield raw.subarray(at, at + 65_536);
}

const threads = availableParallelism();
const openPool = () => createMimePool({ threads, isLazy: true });
const redis = ['idle', 'library', 'parse', 'pool'].includes(scenario.name) ? null : new Redis(scenario.redisPath);
const openStore = () =>
  createMessageStore({
    redis: redis as Redis,
    blobs: createFileBlobStore(scenario.folder),
    sealer: createSealer(`m1:${Buffer.alloc(32, 1).toString('base64')}`),
    clock: { now: () => Date.now() },
    quota: { messages: 0, bytes: 0 },
  });

async function storeAll(raws: readonly (Buffer | Iterable<Buffer>)[], atOnce: number, group: number): Promise<void> {
  const pool = openPool();
  const store = openStore();
  const groups = Array.from({ length: Math.ceil(raws.length / group) }, (_, at) =>
    raws.slice(at * group, (at + 1) * group),
  );
  await forAll(groups, atOnce, async (mails, at) => {
    const messages = await Promise.all(
      mails.map(async (mail, place): Promise<NewMessage> => {
        const raw = await store.write('default', Buffer.isBuffer(mail) ? stream(mail) : given(mail));
        const uidl = `${at * group + place}`;
        return {
          identity: { uidl, occurrence: 0 },
          mailboxId: `mbx_${String(at % MAILBOXES).padStart(32, '0')}`,
          fetchId: `fch_${'0'.repeat(26)}`,
          uidl,
          retentionMs: RETENTION_MS,
          fetchedMs: Date.now(),
          parsed: await pool.parse(await raw.open()),
          raw,
        };
      }),
    );
    await store.store('default', messages);
  });
  await pool.close();
}

/** What a reader of a message waits for, all of them, two at a time. */
async function readAll(read: (store: MessageStore, pool: MimePool, id: string) => Promise<void>): Promise<void> {
  const store = openStore();
  const pool = openPool();
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const page = await store.list('default', { sort: 'fetched', order: 'newest', limit: 100, cursor });
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor;
  } while (cursor !== null);
  await forAll(ids, threads * 2, (id) => read(store, pool, id));
  await pool.close();
}

const run: Record<Scenario['name'], (raws: readonly Buffer[]) => Promise<void>> = {
  idle: async () => undefined,
  library: async (raws) => {
    for (const raw of raws) await parseByLibrary(raw);
  },
  parse: async (raws) => {
    for (const raw of raws) await parseMessage(raw);
  },
  pool: async (raws) => {
    const pool = openPool();
    await forAll(raws, threads * 2, async (raw) => void (await pool.parse(raw)));
    await pool.close();
  },
  store: (raws) => storeAll(raws, 2, 64),
  'store one by one': (raws) => storeAll(raws, 8, 1),
  'read content': () => readAll(async (store, _, id) => void (await store.find('default', id))),
  'parse again': () =>
    readAll(async (store, pool, id) => {
      const raw = await store.openRaw('default', id);
      await pool.parse(await buffer(raw as Readable));
    }),
  huge: () => storeAll([makeHuge(HUGE_BYTES)], 1, 64),
  'in-flight': (raws) => storeAll(raws, Math.ceil(raws.length / 64), 64),
  keep: (raws) => storeAll(raws, 4, scenario.group ?? 64),
};

const raws =
  scenario.name === 'huge' ? [] : Array.from({ length: count }, (_, number) => kind?.make(number) ?? Buffer.alloc(0));
const bytes = scenario.name === 'huge' ? HUGE_BYTES : raws.reduce((sum, raw) => sum + raw.length, 0);
const before = process.cpuUsage();
const fromMs = performance.now();
await run[scenario.name](raws);
const wallS = (performance.now() - fromMs) / 1000;
const { user, system } = process.cpuUsage(before);
const measured: Measured = {
  messages: raws.length,
  bytes,
  wallS,
  cpuS: (user + system) / 1e6,
  rssPeakMb: process.resourceUsage().maxRSS / 1024,
};
redis?.disconnect();
process.stdout.write(`${JSON.stringify(measured)}\n`);
