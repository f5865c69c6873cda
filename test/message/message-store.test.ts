import { mkdtemp, rm, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { BlobStore } from '../../src/message/blob-store.ts';
import { createFileBlobStore } from '../../src/message/file-blob-store.ts';
import { createMessageStore, type MessageStore } from '../../src/message/message-store.ts';
import type { MessageRecord } from '../../src/message/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { messageKey } from '../../src/redis/keys.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { chunks } from './blob-store-suite.ts';

const ID = 'msg_00aa';
const DAY_MS = 24 * 60 * 60 * 1000;
const RETENTION_MS = 60_000;
const mail = sandboxMails().find(({ raw }) => raw.includes('filename='))!;

let server: TestRedis;
let redis: Redis;
let folder: string;
let blobs: BlobStore;
let messages: MessageStore;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  folder = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  blobs = createFileBlobStore(folder);
  messages = createMessageStore(redis, blobs, RETENTION_MS);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function store(into: MessageStore = messages, raw = mail.raw): Promise<MessageRecord> {
  const draft = await into.write('default', chunks(raw));
  const record = {
    id: ID,
    mailboxId: 'mbx_1',
    fetchId: 'fch_1',
    uidl: 'uid-1',
    size: draft.bytes,
    digest: draft.sha256,
    fetchedAt: '2026-11-23T12:00:00.000Z',
  };
  await into.store('default', record, await parseMessage(raw), draft);
  return record;
}

async function listFiles(): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

test('a stored message is found whole: record, content and the very bytes', async () => {
  const record = await store();
  expect(await messages.findRecord('default', ID)).toEqual(record);
  expect(await messages.find('default', ID)).toEqual({ ...record, ...(await parseMessage(mail.raw)) });
  const raw = await messages.openRaw('default', ID);
  expect(mail.raw.equals(await buffer(raw!))).toBe(true);
});

test('the content is in place before the record: a record never stands for bytes that are not there', async () => {
  const kept: string[] = [];
  const overheard: BlobStore = {
    ...blobs,
    async write(tenant, source) {
      const draft = await blobs.write(tenant, source);
      return {
        ...draft,
        async keep(name) {
          kept.push(`${name.kind}, record: ${await redis.exists(messageKey(tenant, ID))}`);
          await draft.keep(name);
        },
      };
    },
  };
  await store(createMessageStore(redis, overheard, RETENTION_MS));
  expect(kept).toEqual(['raw, record: 0', 'content, record: 0']);
});

test('a message whose content could not be stored is not there', async () => {
  let writes = 0;
  const failing: BlobStore = {
    ...blobs,
    write: (tenant, source) => ((writes += 1) === 2 ? Promise.reject(new Error('full')) : blobs.write(tenant, source)),
  };
  await expect(store(createMessageStore(redis, failing, RETENTION_MS))).rejects.toThrow('full');
  expect(await messages.find('default', ID)).toBeNull();
  expect(await messages.findRecord('default', ID)).toBeNull();
});

test('storing a message again takes the place of what was there', async () => {
  await store();
  const again = await store(messages, Buffer.concat([mail.raw, Buffer.from('\r\n')]));
  expect(await messages.findRecord('default', ID)).toEqual(again);
  expect((await listFiles()).toSorted()).toEqual([`${ID}.eml`, `${ID}.json`]);
});

test('a message is its tenant’s alone', async () => {
  await store();
  expect(await messages.find('other', ID)).toBeNull();
  expect(await messages.openRaw('other', ID)).toBeNull();
  await messages.delete('other', ID);
  expect(await messages.find('default', ID)).not.toBeNull();
});

test('a record that has expired is a message that is gone, and its bytes are swept a day later', async () => {
  await store();
  const ttlMs = await redis.pttl(messageKey('default', ID));
  expect(ttlMs).toBeGreaterThan(RETENTION_MS - 10_000);
  expect(ttlMs).toBeLessThanOrEqual(RETENTION_MS);
  await redis.pexpire(messageKey('default', ID), 1);
  await expect.poll(() => messages.find('default', ID), { interval: 2 }).toBeNull();
  expect(await messages.sweep(Date.now() + RETENTION_MS + DAY_MS - 10_000)).toBe(0);
  expect(await messages.sweep(Date.now() + RETENTION_MS + DAY_MS + 10_000)).toBe(2);
  expect(await listFiles()).toEqual([]);
});

test('delete takes record, content and bytes, and may be asked twice', async () => {
  await store();
  await messages.delete('default', ID);
  await messages.delete('default', ID);
  expect(await redis.dbsize()).toBe(0);
  expect(await listFiles()).toEqual([]);
  expect(await messages.find('default', ID)).toBeNull();
  expect(await messages.openRaw('default', ID)).toBeNull();
  expect(await messages.openAttachment('default', ID, 'att_1')).toBeNull();
});

test('a record without its content is no message', async () => {
  await store();
  await blobs.delete({ tenant: 'default', id: ID, kind: 'content' });
  expect(await messages.find('default', ID)).toBeNull();
});

test('an attachment comes out of the raw bytes as it was described; one that is not there is null', async () => {
  await store();
  const found = await messages.find('default', ID);
  const [described] = found!.attachments;
  const opened = await messages.openAttachment('default', ID, described!.id);
  expect(opened).toMatchObject({ contentType: described!.contentType, filename: described!.filename });
  expect(await buffer(opened!.stream)).toHaveLength(described!.size);
  expect(await messages.openAttachment('default', ID, 'att_99')).toBeNull();
});
