import { describe, expect, test } from 'vitest';
import { indexShards, listScanMax } from '../../src/message/limits.ts';
import type { MessageQuery } from '../../src/message/message-list.ts';
import { HOUR_MS, START_MS, TENANT, useMessageStore } from './message-store-fixture.ts';

const fixture = useMessageStore();
const ALL: MessageQuery = { sort: 'fetched', order: 'newest', limit: 100, cursor: null };

interface Mail {
  subject: string;
  from?: string;
  to?: string;
  head?: string;
  body?: string;
}

const write = ({ subject, from = 'a@example.com', to = 'b@example.com', head = '', body = 'Hello.' }: Mail): string =>
  `${head}Subject: ${subject}\r\nFrom: ${from}\r\nTo: ${to}\r\n\r\n${body}\r\n`;

/** Stores a mail a second after the last. */
async function arrive(mail: Mail, mailboxId = 'mbx_1', fetchId = 'fch_1'): Promise<string> {
  fixture.clock.nowMs += 1000;
  const [id = ''] = await fixture.storeAll([write(mail)], {
    identity: { uidl: mail.subject, occurrence: 0 },
    mailboxId,
    fetchId,
  });
  return id;
}

async function subjects(query: Partial<MessageQuery> = {}, all = false): Promise<(string | null)[]> {
  const page = await fixture.messages.list(TENANT, { ...ALL, ...query });
  const found = page.items.map(({ subject }) => subject);
  const isLast = page.nextCursor === null || !all;
  return isLast ? found : [...found, ...(await subjects({ ...query, cursor: page.nextCursor }, all))];
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, n) => `mail ${n}`);

describe('the list of messages', () => {
  test('shows what the record has, and nothing of where the bytes are', async () => {
    const id = await arrive({ subject: 'one', head: 'Message-ID: <1@example.com>\r\n' });
    const { items, nextCursor } = await fixture.messages.list(TENANT, ALL);
    expect(nextCursor).toBeNull();
    expect(items).toMatchObject([
      {
        id,
        mailboxId: 'mbx_1',
        fetchId: 'fch_1',
        subject: 'one',
        messageId: '<1@example.com>',
        kinds: [],
        from: [
          {
            name: null,
            address: 'a@example.com',
            group: null,
          },
        ],
        attachmentCount: 0,
        parseStatus: 'ok',
        acknowledgedAt: null,
        omitted: null,
        duplicateOf: null,
      },
    ]);
    expect(Object.keys(items[0]!)).not.toEqual(expect.arrayContaining(['key']));
    expect(items[0]).not.toHaveProperty('raw');
    expect(items[0]).not.toHaveProperty('content');
  });

  test('has the newest first, or the oldest', async () => {
    for (const subject of numbered(30)) await arrive({ subject });
    expect(await subjects()).toEqual(numbered(30).toReversed());
    expect(await subjects({ order: 'oldest' })).toEqual(numbered(30));
  });

  test('goes by when they were received, where asked', async () => {
    const received = (day: number): string => `Received: by mx.example.com; ${day} Nov 2026 10:00:00 +0000\r\n`;
    for (const day of [3, 1, 2]) await arrive({ subject: `day ${day}`, head: received(day) });
    expect(await subjects({ sort: 'received' })).toEqual(['day 3', 'day 2', 'day 1']);
    expect(await subjects({ sort: 'received', order: 'oldest', receivedSince: Date.parse('2026-11-02') })).toEqual([
      'day 2',
      'day 3',
    ]);
    expect(await subjects({ receivedUntil: Date.parse('2026-11-02') })).toEqual(['day 1']);
  });

  test.each([1, 7, 50])('comes whole in pages of %i, though all are of one moment', async (limit) => {
    const ids = await fixture.storeAll(numbered(50).map((subject) => write({ subject })));
    expect(new Set(ids.map((id) => id.at(-1))).size).toBeGreaterThan(indexShards / 2);
    for (const order of ['newest', 'oldest'] as const) {
      const found = await subjects({ limit, order }, true);
      expect(found).toHaveLength(50);
      expect(new Set(found)).toEqual(new Set(numbered(50)));
    }
  });

  test('misses none and shows none twice while mail arrives and goes', async () => {
    for (const subject of numbered(40)) await arrive({ subject });
    for (const order of ['newest', 'oldest'] as const) {
      const found: (string | null)[] = [];
      let cursor: string | null = null;
      do {
        const page = await fixture.messages.list(TENANT, { ...ALL, order, limit: 7, cursor });
        found.push(...page.items.map(({ subject }) => subject));
        cursor = page.nextCursor;
        await arrive({ subject: `late ${order} ${found.length}` });
        // The very message that the cursor stands at.
        if (found.length === 14) await fixture.messages.remove(TENANT, page.items.at(-1)!.id);
      } while (cursor !== null && found.length < 200);
      const early = found.filter((subject) => subject?.startsWith('mail'));
      expect(new Set(early).size).toBe(early.length);
      expect(early.length).toBeGreaterThanOrEqual(order === 'newest' ? 40 : 39);
      if (order === 'newest') expect(found.filter((subject) => subject?.startsWith('late newest'))).toEqual([]);
    }
  });

  test('ends where a page is full by chance', async () => {
    for (const subject of numbered(4)) await arrive({ subject });
    expect(await fixture.messages.list(TENANT, { ...ALL, limit: 4 })).toMatchObject({ nextCursor: null });
    expect(await fixture.messages.list(TENANT, { ...ALL, limit: 3 })).toMatchObject({
      nextCursor: expect.any(String) as string,
    });
  });

  test.each(['', 'x', 'bnVsbA', Buffer.from('["fetched","oldest",1,"msg_a"]').toString('base64url')])(
    'refuses the cursor %j, which is none of this list',
    async (cursor) => {
      await expect(fixture.messages.list(TENANT, { ...ALL, cursor })).rejects.toMatchObject({
        code: 'invalid_request',
        fields: { errors: [{ in: 'query', pointer: '/cursor' }] },
      });
    },
  );

  test('leaves out what has expired, though it is not swept yet', async () => {
    await arrive({ subject: 'old' });
    fixture.clock.nowMs += 8 * 24 * HOUR_MS;
    await arrive({ subject: 'new' });
    expect(await subjects()).toEqual(['new']);
  });
});

describe('its filters', () => {
  test.each<[Partial<MessageQuery>, string[]]>([
    [{ mailboxId: 'mbx_2' }, ['in two']],
    [{ fetchId: 'fch_9' }, ['by nine']],
    [{ from: 'JANE' }, ['from jane']],
    [{ from: 'jane@EXAMPLE' }, ['from jane']],
    [{ to: 'sales@' }, ['to sales']],
    [{ subject: 'ÜBER' }, ['über alles']],
    [{ hasAttachment: true }, ['with file']],
    [{ kind: 'list' }, ['news']],
    [{ kind: 'auto_reply' }, ['away']],
    [{ acknowledged: true }, ['plain']],
    [{ from: 'jane', subject: 'nothing like it' }, []],
    [{ fetchedUntil: START_MS + 1500 }, ['plain']],
    [{ fetchedSince: START_MS + 9000 }, ['away', 'news']],
    [{ fetchedSince: START_MS + 1000, fetchedUntil: START_MS + 3000 }, ['in two', 'plain']],
  ])('%j', async (query, expected) => {
    const plain = await arrive({ subject: 'plain' });
    await arrive({ subject: 'in two' }, 'mbx_2');
    await arrive({ subject: 'by nine' }, 'mbx_1', 'fch_9');
    await arrive({ subject: 'from jane', from: 'Jane Doe <jane@example.com>' });
    await arrive({ subject: 'to sales', to: 'x@example.com, sales@example.com' });
    await arrive({ subject: 'über alles' });
    await arrive({ subject: 'with file', head: 'Content-Type: application/pdf; name=a.pdf\r\n' });
    await arrive({ subject: 'nothing' });
    await arrive({ subject: 'news', head: 'List-Id: <news.example.com>\r\n' });
    await arrive({ subject: 'away', head: 'Auto-Submitted: auto-replied\r\n' });
    await fixture.messages.acknowledge(TENANT, plain);
    expect(await subjects(query, true)).toEqual(expected);
  });

  test('read a bounded number of records for a page, and say where to go on', async () => {
    for (let group = 0; group < 40; group += 1) {
      fixture.clock.nowMs += 1000;
      const raws = Array.from({ length: 60 }, (_, n) => write({ subject: `${group}/${n}` }));
      await fixture.storeAll(raws, { mailboxId: `mbx_${group}` });
    }
    expect(40 * 60).toBeGreaterThan(listScanMax);
    const page = await fixture.messages.list(TENANT, { ...ALL, order: 'newest', subject: '0/7' });
    expect(page.items).toHaveLength(3);
    expect(page.nextCursor).not.toBeNull();
    expect(await subjects({ subject: '0/7' }, true)).toEqual(['30/7', '20/7', '10/7', '0/7']);
  }, 60_000);
});
