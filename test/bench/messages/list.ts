/** Pages out of very many records: these are written as the store writes them, without bytes behind them. */
import type { Redis } from 'ioredis';
import { createSealer } from '../../../src/mailbox/sealing.ts';
import { createRedisBlobStore } from '../../../src/message/blobs/redis-blob-store.ts';
import { createDataKeys } from '../../../src/message/data-keys.ts';
import { createMessageIndex } from '../../../src/message/message-index.ts';
import { listMessages, type MessageQuery } from '../../../src/message/message-list.ts';
import type { MessageRecord } from '../../../src/message/message.ts';
import { createRecordCodec } from '../../../src/message/record-codec.ts';
import { createRecordStore } from '../../../src/message/record-store.ts';
import { messageId } from '../../../src/identity.ts';

export interface ListTimes {
  readonly pages: number;
  readonly redisBytes: number;
  readonly times: Readonly<Record<string, { medianMs: number; slowestMs: number }>>;
}

const TENANT = 'default';
const MAILBOXES = 100;
const PAGES = 40;
const AT_ONCE = 2000;
const DAY_MS = 24 * 60 * 60 * 1000;
const PAGE: MessageQuery = { sort: 'fetched', order: 'newest', limit: 25, cursor: null };

export async function measureList(redis: Redis, records: number, print: (text: string) => void): Promise<ListTimes> {
  const clock = { now: () => Date.now() };
  const sealer = createSealer(`m1:${Buffer.alloc(32, 1).toString('base64')}`);
  const store = createRecordStore(
    redis,
    createRecordCodec(createDataKeys({ redis, sealer, clock, blobs: createRedisBlobStore(redis, { bytesMax: 1024 }) })),
  );
  const index = createMessageIndex(redis);
  const used = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
  await redis.flushall();
  const before = await used();
  const nowMs = clock.now();
  for (let from = 0; from < records; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, records - from) }, (_, at) =>
      makeRecord(from + at, nowMs, records),
    );
    await Promise.all(
      some.map(async (record) => store.write(TENANT, { id: record.id, sealed: await store.encode(TENANT, record) })),
    );
    await Promise.all(some.map((record) => index.add(TENANT, record)));
    await Promise.all(some.map((record) => index.expireAt(TENANT, record.id, Date.parse(record.expiresAt))));
    if (from > 0 && from % 200_000 === 0) print(`... ${from} records`);
  }
  const redisBytes = ((await used()) - before) / records;
  const ports = { index, records: store, clock };
  const mailbox = { mailboxId: mailboxOf(0) };
  const times = {
    'the newest of all, page after page': await timePages(ports, {}),
    'the newest of all, from anywhere': await timePages(ports, {}, records, nowMs),
    'of one mailbox, by when they were received': await timePages(ports, { ...mailbox, sort: 'received' }),
    'filtered by a sender that one in a hundred has': await timePages(ports, { from: 'sender7@' }),
    'filtered by a subject that none has, all that one look-up reads': await timePages(ports, {
      subject: 'no such thing',
    }),
  };
  return { pages: PAGES, redisBytes, times };
}

async function timePages(
  ports: Parameters<typeof listMessages>[0],
  query: Partial<MessageQuery>,
  records = 0,
  nowMs = 0,
): Promise<{ medianMs: number; slowestMs: number }> {
  const took: number[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < PAGES; page += 1) {
    // One mail a second: the place is a time.
    const until = records > 0 ? { fetchedUntil: nowMs - Math.floor((records * page) / PAGES) * 100 } : {};
    const fromMs = performance.now();
    const found = await listMessages(ports, TENANT, {
      ...PAGE,
      ...query,
      ...until,
      cursor: records > 0 ? null : cursor,
    });
    took.push(performance.now() - fromMs);
    cursor = found.nextCursor;
  }
  const sorted = took.toSorted((a, b) => a - b);
  return { medianMs: sorted[Math.floor(sorted.length / 2)] ?? 0, slowestMs: sorted.at(-1) ?? 0 };
}

function mailboxOf(number: number): string {
  return `mbx_${String(number % MAILBOXES).padStart(32, '0')}`;
}

function makeRecord(number: number, nowMs: number, records: number): MessageRecord {
  const fetchedMs = nowMs - (records - number) * 100;
  const uidl = `${1_600_000_000 + number}.M${number * 7919}P42.mail`;
  const mailboxId = mailboxOf(number);
  const hex = Buffer.from(`${number}`.padStart(32, '9')).toString('hex');
  return {
    id: messageId(mailboxId, { uidl, occurrence: 0 }),
    mailboxId,
    fetchId: `fch_${String(Math.floor(number / 500)).padStart(26, '0')}`,
    uidl,
    size: 2000 + (number % 90_000),
    digest: hex,
    fetchedAt: new Date(fetchedMs).toISOString(),
    expiresAt: new Date(fetchedMs + 7 * DAY_MS + records * 100).toISOString(),
    acknowledgedAt: null,
    duplicateOf: null,
    omitted: null,
    messageId: `<${number.toString(36)}.${(number * 7919).toString(36)}@mail.example.net>`,
    messageIdSynthesised: false,
    date: new Date(fetchedMs - 60_000).toISOString(),
    receivedAt: new Date(fetchedMs - (number % 1000) * 1000).toISOString(),
    subject: `Re: Your order ${number} has been shipped to you`,
    from: [{ name: 'Jörg Müller', address: `sender${number % 100}@example.net`, group: null }],
    to: [{ name: 'Support Team', address: 'support@example.com', group: null }],
    cc: [],
    threadKey: hex.slice(0, 32),
    attachmentCount: number % 3 === 0 ? 1 : 0,
    kinds: [],
    parseStatus: 'ok',
    snippet: `Dear customer, your order ${number} has left our warehouse and will be with you within ${(number % 5) + 2} days. You can follow it at any time on our site, with the number that is given in the table below`,
    attachmentIds: number % 3 === 0 ? ['att_1'] : [],
    raw: {
      blob: `blb_${String(Math.floor(number / 64)).padStart(24, '0')}`,
      offset: number % 64_000,
      length: 1200,
      size: 2000,
    },
    content: {
      blob: `blb_${String(Math.floor(number / 64)).padStart(24, '0')}`,
      offset: number % 64_000,
      length: 900,
      size: 2500,
    },
    key: Buffer.from(hex, 'hex').subarray(0, 32).toString('base64'),
  };
}
