import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { packedBytesMax } from '../../src/message/limits.ts';
import { toPublicMessage } from '../../src/mime/public-message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { messageKey } from '../../src/redis/keys.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { DAY_MS, HOUR_MS, MAILBOX, TENANT, plain, useMessageStore } from './message-store-fixture.ts';

const fixture = useMessageStore();
const mail = sandboxMails().find(({ raw }) => raw.includes('filename='))!.raw;
const large = (subject: string): Buffer => Buffer.concat([Buffer.from(plain(subject)), randomBytes(packedBytesMax)]);

async function readRaw(id: string): Promise<Buffer> {
  return buffer((await fixture.messages.openRaw(TENANT, id))!);
}

describe('a stored message', () => {
  test('is found whole: what was parsed, what is known of it, and the very bytes', async () => {
    const [id = ''] = await fixture.storeAll([mail]);
    const found = await fixture.messages.find(TENANT, id);
    expect(found).toEqual({
      id,
      mailboxId: MAILBOX,
      fetchId: 'fch_1',
      uidl: 'uid-0',
      size: mail.length,
      digest: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      fetchedAt: '2026-11-27T12:00:00.000Z',
      expiresAt: '2026-12-04T12:00:00.000Z',
      acknowledgedAt: null,
      duplicateOf: null,
      omitted: null,
      ...toPublicMessage(await parseMessage(mail)),
    });
    expect(mail.equals(await readRaw(id))).toBe(true);
  });

  test.each([['small', mail] as const, ['large', large('big')] as const])(
    'gives any range of its %s bytes',
    async (_, raw) => {
      const [id = ''] = await fixture.storeAll([raw]);
      for (const range of [
        { start: 0, end: 0 },
        { start: 10, end: raw.length - 2 },
        { start: raw.length - 1, end: raw.length - 1 },
      ]) {
        const read = await buffer((await fixture.messages.openRaw(TENANT, id, range))!);
        expect(raw.subarray(range.start, range.end + 1).equals(read)).toBe(true);
      }
    },
  );

  test('is its tenant’s alone', async () => {
    const [id = ''] = await fixture.storeAll([mail]);
    expect(await fixture.messages.find('other', id)).toBeNull();
    expect(await fixture.messages.openRaw('other', id)).toBeNull();
    expect(await fixture.messages.acknowledge('other', id)).toBeNull();
    expect(await fixture.messages.remove('other', id)).toBe(false);
    expect(await fixture.messages.find(TENANT, id)).not.toBeNull();
  });

  test('is noise on the disk and in Redis', async () => {
    await fixture.storeAll(['Subject: the plan\r\nFrom: boss@example.com\r\n\r\nattack at dawn\r\n']);
    const keys = await fixture.redis.keys('*');
    const dumps = await Promise.all(keys.map(async (key) => (await fixture.redis.dumpBuffer(key)).toString('latin1')));
    const blobs = await fixture.listBlobs();
    const files = await Promise.all(blobs.map(async (name) => buffer((await fixture.blobs.open(name))!)));
    expect(files).toHaveLength(1);
    for (const text of [...dumps, ...files.map((file) => file.toString('latin1'))]) {
      expect(text).not.toMatch(/the plan|boss@|attack|dawn/);
    }
  });

  test('cannot be read as another message, or another tenant’s', async () => {
    const [a = '', b = ''] = await fixture.storeAll([plain('a'), plain('b')]);
    await fixture.redis.copy(messageKey(TENANT, a), messageKey(TENANT, b), 'REPLACE');
    await expect(fixture.messages.find(TENANT, b)).rejects.toMatchObject({ code: 'storage_failed' });
  });

  test('has its attachments', async () => {
    const [id = ''] = await fixture.storeAll([mail]);
    const [described] = (await fixture.messages.find(TENANT, id))!.attachments;
    const found = await fixture.messages.findAttachment(TENANT, id, described!.id);
    expect(await buffer((await found!.open())!)).toHaveLength(described!.size);
    expect(await fixture.messages.findAttachment(TENANT, id, 'att_99')).toBeNull();
  });

  test('has the files in its winmail.dat, which no place in the raw bytes gives', async () => {
    const raw = await readFile(new URL('../mime/corpus/mailer-outlook-winmail-dat.eml', import.meta.url));
    const [id = ''] = await fixture.storeAll([raw]);
    const found = await fixture.messages.findAttachment(TENANT, id, 'att_1.1');
    const content = await buffer((await found!.open())!);
    expect(content).toHaveLength(found!.size);
    expect(createHash('sha256').update(content).digest('hex')).toBe(found!.sha256);
    expect(await buffer((await found!.open({ start: 1, end: 2 }))!)).toEqual(content.subarray(1, 3));
  });

  test('is acknowledged once, and stays so when it is fetched again', async () => {
    const [id = ''] = await fixture.storeAll([mail]);
    expect(await fixture.messages.acknowledge(TENANT, id)).toBe('2026-11-27T12:00:00.000Z');
    fixture.clock.nowMs += 1000;
    expect(await fixture.messages.acknowledge(TENANT, id)).toBe('2026-11-27T12:00:00.000Z');
    await fixture.storeAll([mail]);
    expect(await fixture.messages.find(TENANT, id)).toMatchObject({ acknowledgedAt: '2026-11-27T12:00:00.000Z' });
    expect(await fixture.messages.acknowledge(TENANT, 'msg_none')).toBeNull();
    // Stored anew, as it is about to expire.
    fixture.clock.nowMs += 7 * DAY_MS - HOUR_MS / 2;
    await fixture.storeAll([mail]);
    expect(await fixture.messages.find(TENANT, id)).toMatchObject({ acknowledgedAt: '2026-11-27T12:00:00.000Z' });
  });

  test('stays acknowledged where that was said just while it was fetched again', async () => {
    const [id = ''] = await fixture.storeAll([mail]);
    const expireAt = fixture.redis.zadd.bind(fixture.redis);
    let isSaid = false;
    const redis = new Proxy(fixture.redis, {
      get(target, name) {
        if (name === 'zadd') {
          return async (...args: Parameters<typeof expireAt>) => {
            if (!isSaid) await fixture.messages.acknowledge(TENANT, id);
            isSaid = true;
            return expireAt(...args);
          };
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const again = await fixture.prepare(mail, { identity: { uidl: 'uid-0', occurrence: 0 }, uidl: 'uid-0' });
    expect(await fixture.open({ redis }).store(TENANT, [again])).toEqual([{ id, firstId: id }]);
    expect(await fixture.messages.find(TENANT, id)).toMatchObject({ acknowledgedAt: '2026-11-27T12:00:00.000Z' });
    expect(await fixture.listFiles()).toHaveLength(1);
  });
});

describe('a group of messages', () => {
  test('is one blob, where they are small; a large message has one of its own', async () => {
    const small = Array.from({ length: 20 }, (_, n) => plain(`mail ${n}`));
    await fixture.storeAll(small);
    expect(await fixture.listFiles()).toHaveLength(1);
    const [, id = ''] = await fixture.storeAll([plain('mail 0'), large('big')], { mailboxId: 'mbx_other' });
    expect(await fixture.listFiles()).toHaveLength(3);
    expect(await readRaw(id)).toHaveLength(large('big').length);
  });

  test('gives every message back as it was', async () => {
    const raws = Array.from({ length: 64 }, (_, n) => plain(`mail ${n}`.repeat(n)));
    const ids = await fixture.storeAll(raws);
    for (const [at, id] of ids.entries()) expect((await readRaw(id)).toString()).toBe(raws[at]);
  });

  test('loses a deleted message at once, and its bytes with the last of the group', async () => {
    const ids = await fixture.storeAll([plain('a'), plain('b'), plain('c')]);
    for (const [at, id] of ids.entries()) {
      expect(await fixture.listFiles()).toHaveLength(1);
      expect(await fixture.messages.remove(TENANT, id)).toBe(true);
      expect(await fixture.messages.remove(TENANT, id)).toBe(false);
      expect(await fixture.messages.find(TENANT, id)).toBeNull();
      expect(await fixture.messages.openRaw(TENANT, id)).toBeNull();
      for (const other of ids.slice(at + 1)) expect(await fixture.messages.find(TENANT, other)).not.toBeNull();
    }
    expect(await fixture.listFiles()).toEqual([]);
    // The tenant's data key, and nothing else.
    expect(await fixture.redis.dbsize()).toBe(1);
  });

  test('of which one is refused by the quota is not stored at all, and leaves no bytes', async () => {
    const messages = fixture.open({ quota: { messages: 2, bytes: 0 } });
    const group = [];
    for (const n of [1, 2, 3]) {
      const uidl = `${n}`;
      group.push(await fixture.prepare(large(uidl), { identity: { uidl, occurrence: 0 }, uidl }, messages));
    }
    await expect(messages.store(TENANT, group)).rejects.toMatchObject({ code: 'quota_exceeded' });
    expect(await fixture.listFiles()).toEqual([]);
    expect(await messages.list(TENANT, { sort: 'fetched', order: 'newest', limit: 10, cursor: null })).toEqual({
      items: [],
      nextCursor: null,
    });
  });
});

describe('the quota', () => {
  test('counts messages and bytes of what is there, each message once', async () => {
    await fixture.storeAll([plain('a'), plain('b')]);
    await fixture.storeAll([plain('a'), plain('b')]);
    const size = plain('a').length;
    const full = fixture.open({ quota: { messages: 2, bytes: 0 } });
    await expect(full.checkQuota(TENANT)).rejects.toMatchObject({
      code: 'quota_exceeded',
      message: expect.stringContaining('2 messages is used up (2 are stored)') as string,
    });
    await fixture.open({ quota: { messages: 3, bytes: 2 * size + 1 } }).checkQuota(TENANT);
    const heavy = fixture.open({ quota: { messages: 0, bytes: 2 * size } });
    await expect(heavy.checkQuota(TENANT)).rejects.toMatchObject({ code: 'quota_exceeded' });
    await full.checkQuota('other');
  });

  test('has room again for what is deleted, and for what expires', async () => {
    const full = fixture.open({ quota: { messages: 2, bytes: 0 } });
    const [id = ''] = await fixture.storeAll([plain('a'), plain('b')]);
    await fixture.messages.remove(TENANT, id);
    await full.checkQuota(TENANT);
    fixture.clock.nowMs += 8 * DAY_MS;
    await fixture.messages.sweep();
    await full.checkQuota(TENANT, { messages: 2, bytes: 1 });
  });
});

describe('a message that is fetched again', () => {
  test('stays the one it is, with its bytes, and stays longer', async () => {
    const [id = ''] = await fixture.storeAll([mail, large('big')]);
    const files = await fixture.listFiles();
    const before = await fixture.messages.find(TENANT, id);
    fixture.clock.nowMs += DAY_MS;
    const again = await fixture.storeAll([mail, large('big')].slice(0, 1), { fetchId: 'fch_2' });
    expect(again).toEqual([id]);
    expect(await fixture.messages.find(TENANT, id)).toEqual({
      ...before,
      fetchId: 'fch_2',
      expiresAt: '2026-12-05T12:00:00.000Z',
    });
    expect(await fixture.listFiles()).toEqual(files);
  });

  test('is stored anew where it was about to expire, and the old bytes go', async () => {
    const [id = ''] = await fixture.storeAll([mail]);
    const files = await fixture.listFiles();
    fixture.clock.nowMs += 7 * DAY_MS - HOUR_MS / 2;
    expect(await fixture.storeAll([mail])).toEqual([id]);
    expect(await fixture.listFiles()).toHaveLength(1);
    expect(await fixture.listFiles()).not.toEqual(files);
    fixture.clock.nowMs += HOUR_MS;
    expect(await fixture.messages.sweep()).toMatchObject({ deleted: 0, failed: 0 });
    expect(mail.equals(await readRaw(id))).toBe(true);
    const { items } = await fixture.messages.list(TENANT, { sort: 'fetched', order: 'newest', limit: 9, cursor: null });
    expect(items.map((item) => item.fetchedAt)).toEqual(['2026-12-04T11:30:00.000Z']);
  });

  test('does not take the place of another mail that had its unique-id', async () => {
    const [first = ''] = await fixture.storeAll([plain('first')]);
    const [second = ''] = await fixture.storeAll([plain('second')]);
    expect(second).not.toBe(first);
    expect(await fixture.messages.find(TENANT, first)).toMatchObject({ subject: 'first' });
    expect(await fixture.messages.find(TENANT, second)).toMatchObject({ subject: 'second' });
    expect(await fixture.storeAll([plain('second')])).toEqual([second]);
  });
});

describe('the same bytes under another unique-id', () => {
  const twice = async (raw: Buffer | string) => {
    const original = await fixture.prepare(raw, { identity: { uidl: 'a', occurrence: 0 } });
    const copy = await fixture.prepare(raw, { identity: { uidl: 'b', occurrence: 0 } });
    return { original, copy };
  };

  test.each([['small', mail] as const, ['large', large('big')] as const])(
    'are a duplicate that shares them, %s, in one group or in two',
    async (_, raw) => {
      const { original, copy } = await twice(raw);
      const [first, second] = await fixture.messages.store(TENANT, [original, copy]);
      const files = await fixture.listFiles();
      const third = await fixture.prepare(raw, { identity: { uidl: 'c', occurrence: 0 } });
      const [last] = await fixture.messages.store(TENANT, [third]);
      expect([first, second, last].map((outcome) => outcome!.firstId)).toEqual(Array(3).fill(first!.id));
      // Nothing but what tells of it: the manifest of a group of its own.
      const { listFiles } = fixture;
      expect(await listFiles()).toHaveLength(files.length + 1);
      expect(await listFiles()).toEqual(expect.arrayContaining(files));
      for (const { id } of [second!, last!]) {
        expect(await fixture.messages.find(TENANT, id)).toMatchObject({ id, duplicateOf: first!.id });
        expect(raw.equals(await readRaw(id))).toBe(true);
      }
      // The bytes stay as long as anyone has them.
      await fixture.messages.remove(TENANT, first!.id);
      expect(raw.equals(await readRaw(second!.id))).toBe(true);
      await fixture.messages.remove(TENANT, second!.id);
      await fixture.messages.remove(TENANT, last!.id);
      expect(await fixture.listFiles()).toEqual([]);
    },
  );

  test('in another mailbox are no duplicate', async () => {
    const { original, copy } = await twice(mail);
    const outcomes = await fixture.messages.store(TENANT, [original, { ...copy, mailboxId: 'mbx_other' }]);
    expect(outcomes.map(({ firstId }) => firstId)).toEqual(outcomes.map(({ id }) => id));
  });

  test('are no duplicate of a message that is gone', async () => {
    const { original, copy } = await twice(mail);
    const [first] = await fixture.messages.store(TENANT, [original]);
    await fixture.messages.remove(TENANT, first!.id);
    const [second] = await fixture.messages.store(TENANT, [copy]);
    expect(second!.firstId).toBe(second!.id);
    expect(mail.equals(await readRaw(second!.id))).toBe(true);
  });

  test('are told again to be what they are when they are fetched again', async () => {
    const { original, copy } = await twice(plain('x'));
    const first = await fixture.messages.store(TENANT, [original, copy]);
    const again = await twice(plain('x'));
    expect(await fixture.messages.store(TENANT, [again.original, again.copy])).toEqual(first);
  });
});

describe('bytes that are shared', () => {
  test('stay where the message that shared them was stored anew as their copy, and the first is deleted', async () => {
    const first = await fixture.prepare(mail, { identity: { uidl: 'a', occurrence: 0 } });
    const brief = { identity: { uidl: 'b', occurrence: 0 }, retentionMs: HOUR_MS / 2 };
    const [original, copy] = await fixture.messages.store(TENANT, [first, await fixture.prepare(mail, brief)]);
    fixture.clock.nowMs += 1000;
    const again = await fixture.prepare(mail, { ...brief, retentionMs: 7 * DAY_MS });
    expect(await fixture.messages.store(TENANT, [again])).toEqual([copy]);
    await fixture.messages.remove(TENANT, original!.id);
    expect(mail.equals(await readRaw(copy!.id))).toBe(true);
    await fixture.messages.remove(TENANT, copy!.id);
    expect(await fixture.listFiles()).toEqual([]);
  });
});

describe('a message whose bytes were omitted', () => {
  const omit = async (bytes: number) => fixture.prepare(plain('huge'), { raw: { omitted: 'too_large', bytes } });

  test('has its header section, and no bytes', async () => {
    const [{ id } = { id: '' }] = await fixture.messages.store(TENANT, [await omit(100_000_000)]);
    expect(await fixture.messages.find(TENANT, id)).toMatchObject({
      omitted: 'too_large',
      digest: null,
      size: 1e8,
      subject: 'huge',
    });
    expect(await fixture.messages.openRaw(TENANT, id)).toBeNull();
    expect(await fixture.messages.findHeld(TENANT, [id])).toEqual(new Set());
  });

  test('gets them under the same id where they come later', async () => {
    const [{ id } = { id: '' }] = await fixture.messages.store(TENANT, [await omit(100)]);
    await fixture.messages.store(TENANT, [await omit(100)]);
    const whole = await fixture.prepare(plain('huge'));
    expect(await fixture.messages.store(TENANT, [whole])).toEqual([{ id, firstId: id }]);
    expect((await readRaw(id)).toString()).toBe(plain('huge'));
    expect(await fixture.listFiles()).toHaveLength(1);
    expect(await fixture.messages.findHeld(TENANT, [id])).toEqual(new Set([id]));
  });
});

test('a header section does not take the place of the whole message, nor of another mail of its unique-id', async () => {
  const [id = ''] = await fixture.storeAll([plain('whole')]);
  const head = async (subject: string) => {
    const parsed = await parseMessage(Buffer.from(plain(subject).split('Hello')[0]!));
    const uidl = 'uid-0';
    const raw = { omitted: 'too_large', bytes: 99 } as const;
    return { ...(await fixture.prepare('')), identity: { uidl, occurrence: 0 }, uidl, parsed, raw };
  };
  expect(await fixture.messages.store(TENANT, [await head('whole')])).toEqual([{ id, firstId: id }]);
  expect((await readRaw(id)).toString()).toBe(plain('whole'));
  const [other] = await fixture.messages.store(TENANT, [await head('another')]);
  expect(other!.id).not.toBe(id);
  expect(await fixture.messages.store(TENANT, [await head('another')])).toEqual([other]);
  expect((await readRaw(id)).toString()).toBe(plain('whole'));
});

test('held is what has a record and its bytes', async () => {
  const ids = await fixture.storeAll([plain('a'), large('b')]);
  expect(await fixture.messages.findHeld(TENANT, [...ids, 'msg_none'])).toEqual(new Set(ids));
  const [, alone] = await fixture.listBlobs();
  await fixture.blobs.delete(alone!);
  expect((await fixture.messages.findHeld(TENANT, ids)).size).toBe(1);
});
