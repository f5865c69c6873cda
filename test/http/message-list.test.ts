import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { KNOWN_FETCH, startMessageApi, type MessageApi } from './message-api.ts';

type Page = components['schemas']['MessageSummaryPage'];
type Summary = components['schemas']['MessageSummary'];

const ann = { name: 'Ann', address: 'ann@example.org', group: null };
const summary = (index: number): Summary => ({
  id: `msg_${String(index).padStart(32, '0')}`,
  mailboxId: `mbx_${'1'.repeat(32)}`,
  fetchId: `fch_${'2'.repeat(26)}`,
  uidl: null,
  size: 1,
  digest: null,
  fetchedAt: '2026-11-23T12:00:00.000Z',
  expiresAt: '2026-11-30T12:00:00.000Z',
  acknowledgedAt: null,
  duplicateOf: null,
  omitted: 'too_large',
  messageId: '<a@b>',
  messageIdSynthesised: true,
  date: null,
  receivedAt: null,
  subject: null,
  from: Array.from({ length: 10 }, () => ann),
  to: [],
  cc: [],
  threadKey: 'x',
  attachmentCount: 0,
  kinds: ['bulk', 'signed'],
  parseStatus: 'ok',
  snippet: '',
});
const ALL = Array.from({ length: 7 }, (_, index) => summary(index));

let service: MessageApi;

beforeAll(async () => {
  service = await startMessageApi({
    // Cursors with characters that no URL takes as they are; every third page is empty.
    async list(_tenant, { limit, cursor }) {
      const [, offset = 0, isEmpty = 0] = /^@ (\d+) & (\d)$/.exec(cursor ?? '')?.map(Number) ?? [];
      if (isEmpty) return { items: [], nextCursor: `@ ${offset} & 0` };
      const end = Math.min(offset + limit, ALL.length);
      return { items: ALL.slice(offset, end), nextCursor: end < ALL.length ? `@ ${end} & 1` : null };
    },
  });
});
afterAll(() => service.close());

const list = (query = '') => service.api('GET', `/v1/messages${query}`);
const asked = () => service.queries.at(-1);

describe('200', () => {
  it('gives summaries, newest fetched first and 25 of them unless asked otherwise', async () => {
    expect((await list()).json()).toEqual({ items: ALL, nextCursor: null });
    expect(asked()).toEqual({ tenant: 'default', sort: 'fetched', order: 'newest', limit: 25, cursor: null });
  });

  it('hands every filter to the index, times as instants', async () => {
    const mailbox = `mbx_${'0'.repeat(32)}`;
    const fetch = `fch_${'0'.repeat(26)}`;
    const { status } = await list(
      `?mailbox=${mailbox}&fetch=${fetch}&from=Ann%20%3C&to=%C3%A9&subject=a%2Bb&hasAttachment=true&kind=delivery_status` +
        '&acknowledged=false&sort=received&order=oldest&limit=100&fetchedSince=2026-11-01T00:00:00Z' +
        '&fetchedUntil=2026-11-01T00:00:00.001Z&receivedSince=2026-11-01T01:00:00%2B01:00&receivedUntil=2026-11-01T00:00:00Z',
    );
    expect(status).toBe(200);
    const midnight = Date.UTC(2026, 10, 1);
    expect(asked()).toEqual({
      tenant: 'default',
      mailboxId: mailbox,
      fetchId: fetch,
      from: 'Ann <',
      to: 'é',
      subject: 'a+b',
      hasAttachment: true,
      kind: 'delivery_status',
      acknowledged: false,
      fetchedSince: midnight,
      fetchedUntil: midnight + 1,
      receivedSince: midnight,
      receivedUntil: midnight,
      sort: 'received',
      order: 'oldest',
      limit: 100,
      cursor: null,
    });
  });

  it('looks for the messages of a fetch in its mailbox alone', async () => {
    await list(`?fetch=${KNOWN_FETCH.id}`);
    expect(asked()).toMatchObject({ fetchId: KNOWN_FETCH.id, mailboxId: KNOWN_FETCH.mailboxId });
    // One that is not known any more may have left messages.
    await list(`?fetch=fch_${'9'.repeat(26)}`);
    expect(asked()).not.toHaveProperty('mailboxId');
  });

  it('goes on from page to page, over empty ones too, and the limit may change on the way', async () => {
    const seen: string[] = [];
    let pages = 0;
    for (let cursor: string | null = ''; cursor !== null; pages += 1) {
      const page: Page = (await list(`?limit=${(pages % 3) + 1}${cursor && `&cursor=${cursor}`}`)).json() as Page;
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
      if (cursor) expect(cursor).toMatch(/^[A-Za-z0-9_.~-]+$/);
    }
    expect(seen).toEqual(ALL.map(({ id }) => id));
    expect(pages).toBeGreaterThan(5);
  });

  it('HEAD is answered without the list', async () => {
    const { status, bytes } = await service.api('HEAD', '/v1/messages');
    expect([status, bytes.length]).toEqual([200, 0]);
  });
});

describe('400', () => {
  it.each([
    ['mailbox=x', '/mailbox'],
    ['fetch=', '/fetch'],
    ['from=', '/from'],
    [`subject=${'x'.repeat(201)}`, '/subject'],
    ['fetchedSince=yesterday', '/fetchedSince'],
    ['fetchedUntil=2026-02-30T00:00:00Z', '/fetchedUntil'],
    ['receivedSince=2026-11-01', '/receivedSince'],
    ['receivedUntil=2026-11-01T00:00:00+01:00', '/receivedUntil'],
    ['fetchedSince=2026-12-31T23:59:60Z', '/fetchedSince'],
    ['fetchedSince=2026-11-02T00:00:00Z&fetchedUntil=2026-11-01T00:00:00Z', '/fetchedUntil'],
    ['receivedSince=2026-11-01T00:00:00Z&receivedUntil=2026-11-01T00:00:00%2B00:01', '/receivedUntil'],
    ['hasAttachment=yes', '/hasAttachment'],
    ['kind=spam', '/kind'],
    ['kind=list&kind=bulk', '/kind'],
    ['acknowledged=', '/acknowledged'],
    ['sort=size', '/sort'],
    ['order=asc', '/order'],
    ['limit=0', '/limit'],
    ['limit=101', '/limit'],
    ['cursor=', '/cursor'],
    ['cursor=1', '/cursor'],
    ['cursor=QCAx.AAAAAAAAAAAAAAAA', '/cursor'],
    [`cursor=${'a'.repeat(1001)}`, '/cursor'],
    ['token=v1.x', '/token'],
    ['q=x', '/q'],
  ])('invalid_request for ?%s', async (query, pointer) => {
    const { code, errors = [] } = (await list(`?${query}`)).asProblem();
    expect(code).toBe('invalid_request');
    expect(new Set(errors.map((error) => `${error.in}${error.pointer}`))).toEqual(new Set([`query${pointer}`]));
  });

  describe('invalid_request for a cursor', () => {
    let cursor: string;
    beforeEach(async () => {
      cursor = ((await list('?limit=1&subject=a')).json() as Page).nextCursor!;
    });

    it('of another query: filters, sort or order', async () => {
      expect((await list(`?subject=a&cursor=${cursor}`)).status).toBe(200);
      for (const query of [
        '',
        'subject=b&',
        'subject=a&from=b&',
        'subject=a&sort=received&',
        'subject=a&order=oldest&',
      ]) {
        expect((await list(`?${query}cursor=${cursor}`)).asProblem().errors).toMatchObject([{ pointer: '/cursor' }]);
      }
    });

    it('that was changed in any place', async () => {
      const before = service.queries.length;
      for (let at = 0; at < cursor.length; at += 1) {
        const other = cursor[at] === 'A' ? 'B' : 'A';
        const changed = `${cursor.slice(0, at)}${other}${cursor.slice(at + 1)}`;
        expect((await list(`?subject=a&cursor=${changed}`)).status).toBe(400);
      }
      for (const changed of [`${cursor}.x`, `${cursor}A`, cursor.slice(0, -1), `.${cursor}`]) {
        expect((await list(`?subject=a&cursor=${changed}`)).status).toBe(400);
      }
      expect(service.queries).toHaveLength(before);
    });
  });
});

it('401 without a key, and a token is none', async () => {
  const answer = await service.api('GET', '/v1/messages?token=v1.k1.default.9999999999.x', { key: null });
  expect(answer.asProblem().code).toBe('unauthorized');
});
