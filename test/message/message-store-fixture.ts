/** A message store on a real Redis and a folder, with a clock that stands until it is moved. */
import { Redis } from 'ioredis';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { createSealer } from '../../src/mailbox/sealing.ts';
import type { BlobName, BlobStore } from '../../src/message/blobs/blob-store.ts';
import { createFileBlobStore } from '../../src/message/blobs/file-blob-store.ts';
import { createMessageStore, type MessageStore, type MessageStorePorts } from '../../src/message/message-store.ts';
import type { NewMessage } from '../../src/message/new-message.ts';
import { auditSinceKey } from '../../src/redis/keys.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { chunks } from './blobs/blob-store-suite.ts';

export const TENANT = 'default';
export const MAILBOX = `mbx_${'0'.repeat(32)}`;
export const HOUR_MS = 60 * 60 * 1000;
export const DAY_MS = 24 * HOUR_MS;
export const SEALER = createSealer(`m1:${Buffer.alloc(32, 1).toString('base64')}`);
export const START_MS = Date.parse('2026-11-27T12:00:00.000Z');

/** In memory where there is such a folder: what is asked here is what is written in which order, thousands of times, and no disk is. */
const PARENT = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** A mail of which nothing matters but that it is told apart. */
export const plain = (subject: string): string => `Subject: ${subject}\r\nFrom: a@example.com\r\n\r\nHello.\r\n`;

export interface MessageFixture {
  redis: Redis;
  blobs: BlobStore;
  messages: MessageStore;
  clock: { nowMs: number; now(): number };
  /** A store on the same Redis and folder, as another process has it. */
  open(ports?: Partial<MessageStorePorts>): MessageStore;
  /** A message ready to be stored. */
  prepare(raw: Buffer | string, facts?: Partial<NewMessage>, into?: MessageStore): Promise<NewMessage>;
  /** Stores mails as one group, with their place as unique-id, and gives their ids. */
  storeAll(raws: readonly (Buffer | string)[], facts?: Partial<NewMessage>): Promise<string[]>;
  /** Those that hold bytes of messages. */
  listBlobs(): Promise<BlobName[]>;
  /** The names of all files under the folder, but for what is kept beside the bytes of messages. */
  listFiles(): Promise<string[]>;
  /** The ids of the blobs that say that a message was deleted. */
  listNotes(): Promise<string[]>;
  /** As if this Redis had known of the blobs for long. */
  ageRedis(): Promise<void>;
}

export function useMessageStore(): MessageFixture {
  let server: TestRedis;
  let folder: string;
  const clock = { nowMs: START_MS, now: () => clock.nowMs };

  const fixture = {
    clock,
    open: (ports = {}) => {
      const { redis, blobs } = fixture;
      return createMessageStore({ redis, blobs, sealer: SEALER, clock, quota: { messages: 0, bytes: 0 }, ...ports });
    },
    async prepare(raw, facts = {}, into = fixture.messages) {
      const bytes = Buffer.from(raw);
      return {
        identity: {
          uidl: 'uid-1',
          occurrence: 0,
        },
        mailboxId: MAILBOX,
        fetchId: 'fch_1',
        uidl: 'uid-1',
        retentionMs: 7 * DAY_MS,
        fetchedMs: clock.nowMs,
        parsed: await parseMessage(bytes),
        raw: await into.write(TENANT, chunks(bytes)),
        ...facts,
      };
    },
    async storeAll(raws, facts = {}) {
      const prepared: NewMessage[] = [];
      for (const [place, raw] of raws.entries()) {
        const uidl = `uid-${place}`;
        prepared.push(await fixture.prepare(raw, { identity: { uidl, occurrence: 0 }, uidl, ...facts }));
      }
      return (await fixture.messages.store(TENANT, prepared)).map(({ id }) => id);
    },
    async listBlobs() {
      const names: BlobName[] = [];
      for await (const { tenant, id } of fixture.blobs.list(Number.MAX_SAFE_INTEGER)) {
        if (id.startsWith('blb_')) names.push({ tenant, id });
      }
      return names;
    },
    async listNotes() {
      const ids: string[] = [];
      for await (const { id } of fixture.blobs.list(Number.MAX_SAFE_INTEGER)) if (id.startsWith('gone_')) ids.push(id);
      return ids;
    },
    async ageRedis() {
      await fixture.redis.set(auditSinceKey, 0);
    },
    async listFiles() {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
      return files.filter((name) => !/^(?:dkey|gone)_/.test(name));
    },
  } as MessageFixture;

  beforeAll(async () => {
    server = await startRedis(PARENT);
    fixture.redis = new Redis(server.url);
  });
  afterAll(async () => {
    fixture.redis.disconnect();
    await server.close();
  });
  beforeEach(async () => {
    await fixture.redis.flushall();
    clock.nowMs = START_MS;
    folder = await mkdtemp(join(PARENT, 'popbridge-test-'));
    fixture.blobs = createFileBlobStore(folder);
    fixture.messages = fixture.open();
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  return fixture;
}
