/** Stored mailboxes over the real service: what each fetch finds that no fetch before it has stored, and what is deleted upstream. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { createMailboxClient, serveMails, type MailboxBody } from '../support/mailboxes.ts';
import { startService, type FetchBody, type Service } from '../support/service.ts';

const mail = (n: number | string): Buffer => Buffer.from(`Subject: mail ${n}\r\n\r\nText ${n}.\r\n`);
const mails = (...uidls: string[]) => uidls.map((uidl) => ({ uidl, raw: mail(uidl) }));

let service: Service;
const {
  store: stored,
  fetch: fetchNow,
  ledger: ledgerOf,
  look,
  subjects: subjectsOf,
} = createMailboxClient(() => service);
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service?.close();
});

describe('a stored mailbox', () => {
  it('is fetched by what is new, and only that', async () => {
    const server = await serveMails({ mails: mails('a', 'b') });
    const mailbox = await stored(server);
    expect(await subjectsOf(await fetchNow(mailbox))).toEqual(['mail a', 'mail b']);
    const again = await fetchNow(mailbox);
    expect(again).toMatchObject({ state: 'succeeded', counts: { listed: 2, retrieved: 0, skipped: 0, deleted: 0 } });
    server.mails = mails('a', 'b', 'c');
    expect(await subjectsOf(await fetchNow(mailbox))).toEqual(['mail c']);
    expect((await ledgerOf(mailbox)).map(({ uidl, state }) => [uidl, state])).toEqual([
      ['a', 'stored'],
      ['b', 'stored'],
      ['c', 'stored'],
    ]);
    expect(server.commands.filter((line) => line.startsWith('RETR'))).toHaveLength(3);
  });

  it('says how it stands', async () => {
    const server = await serveMails({ mails: mails('a') });
    const mailbox = await stored(server, { name: 'Orders' });
    expect(mailbox).toMatchObject({ name: 'Orders', state: 'ok', lastFetch: null, nextFetchAt: null, sharedWith: [] });
    const fetch = await fetchNow(mailbox);
    expect(await look(mailbox)).toMatchObject({
      state: 'ok',
      failures: 0,
      lastFetch: { id: fetch.id, state: 'succeeded' },
    });
  });

  it('takes up again where a limit has cut it', async () => {
    const server = await serveMails({ mails: mails('a', 'b', 'c') });
    const mailbox = await stored(server, { limits: { messages: 2 } });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 2, skipped: 1 }, limitReached: 'messages' });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 1, skipped: 0 }, limitReached: null });
  });

  it.each([
    ['new_only', []],
    [{ last: 2 }, ['mail b', 'mail c']],
    ['all', ['mail a', 'mail b', 'mail c']],
  ])('takes %j of what is there at first, and later all that comes', async (firstFetch, subjects) => {
    const server = await serveMails({ mails: mails('a', 'b', 'c') });
    const mailbox = await stored(server, { firstFetch });
    expect(await subjectsOf(await fetchNow(mailbox))).toEqual(subjects);
    server.mails = mails('a', 'b', 'c', 'd');
    expect(await subjectsOf(await fetchNow(mailbox))).toEqual(['mail d']);
    const left = (await ledgerOf(mailbox, '?state=skipped')).map(({ reason }) => reason);
    expect(left).toEqual(Array(3 - subjects.length).fill('before_first_fetch'));
  });

  it('shares its maildrop with another one that points there, and both say so', async () => {
    const server = await serveMails({ mails: mails('a') });
    const one = await stored(server, {}, { username: 'shared' });
    const other = await stored(server, { alias: 'archive' }, { username: 'shared' });
    expect(other.id).not.toBe(one.id);
    expect((await look(one)).sharedWith).toEqual([other.id]);
    expect((await look(other)).sharedWith).toEqual([one.id]);
    await Promise.all([fetchNow(one), fetchNow(other)]);
    const again = await service.api('POST', '/v1/mailboxes', {
      body: { source: { host: '127.0.0.1', port: server.port, tls: 'none', username: 'shared', password: 'p' } },
    });
    expect(again.asProblem()).toMatchObject({ status: 409, code: 'conflict' });
  });
});

describe('a server that changes its unique-ids', () => {
  it('has no mail announced, or listed as new, twice', async () => {
    const server = await serveMails({ mails: mails('a', 'b', 'c') });
    const mailbox = await stored(server);
    await fetchNow(mailbox);
    server.mails = [
      { uidl: '1', raw: mail('a') },
      { uidl: '2', raw: mail('b') },
      { uidl: '3', raw: mail('c') },
      { uidl: '4', raw: mail('new') },
    ];
    const fetch = await fetchNow(mailbox);
    const messages = await service.listMessages(fetch.id);
    expect(messages.map(({ subject, duplicateOf }) => [subject, duplicateOf !== null])).toEqual([
      ['mail a', true],
      ['mail b', true],
      ['mail c', true],
      ['mail new', false],
    ]);
    // The old ones are missed, and not yet forgotten: one listing says nothing.
    expect((await ledgerOf(mailbox)).filter(({ absentSince }) => absentSince !== null)).toHaveLength(3);
    // Its owner is told.
    expect((await look(mailbox)).warnings).toMatchObject([{ code: 'unique_ids_changed' }]);
  });

  it('has a mail fetched that it gives the unique-id of one that was deleted', async () => {
    const server = await serveMails({ mails: mails('a') });
    const mailbox = await stored(server, { delete: 'stored' });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 1, deleted: 1 } });
    // Of the same size.
    server.mails = [{ uidl: 'a', raw: mail('z') }];
    const fetch = await fetchNow(mailbox);
    expect(await subjectsOf(fetch)).toEqual(['mail z']);
    expect(fetch).toMatchObject({ counts: { retrieved: 1, deleted: 1 } });
  });
});

describe('mail is deleted upstream', () => {
  it('never, unless asked', async () => {
    const server = await serveMails({ mails: mails('a') });
    await fetchNow(await stored(server));
    expect(server.commands.join()).not.toContain('DELE');
  });

  it('once it is acknowledged, or deleted here', async () => {
    const server = await serveMails({ mails: mails('a', 'b', 'c') });
    const mailbox = await stored(server, { delete: 'acknowledged' });
    const first = await fetchNow(mailbox);
    expect(first).toMatchObject({ counts: { retrieved: 3, deletable: 0, deleted: 0 } });
    const [a, b] = await service.listMessages(first.id);
    await service.api('POST', `/v1/messages/${a!.id}/ack`);
    await service.api('DELETE', `/v1/messages/${b!.id}`);
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 0, deletable: 2, deleted: 2 } });
    expect(server.mails.map(({ uidl }) => uidl)).toEqual(['c']);
    expect((await ledgerOf(mailbox)).map(({ state }) => state)).toEqual(['deleted', 'deleted', 'stored']);
  });

  it('but for the last ones', async () => {
    const server = await serveMails({ mails: mails('a', 'b', 'c', 'd') });
    const mailbox = await stored(server, { delete: { keepLast: 1 } });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 4, deleted: 3 } });
    expect(server.mails.map(({ uidl }) => uidl)).toEqual(['d']);
  });

  it('some days after it came', async () => {
    const server = await serveMails({ mails: mails('a') });
    const mailbox = await stored(server, { delete: { afterDays: 1 } });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 1, deletable: 0 } });
    await service.api('PATCH', `/v1/mailboxes/${mailbox.id}`, { body: { delete: { afterDays: 0 } } });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { deletable: 1, deleted: 1 } });
  });

  it('not in a dry run, which says what would be', async () => {
    const server = await serveMails({ mails: mails('a', 'b') });
    const mailbox = await stored(server, { delete: 'stored', dryRun: true });
    expect(await fetchNow(mailbox)).toMatchObject({ dryRun: true, counts: { retrieved: 2, deletable: 2, deleted: 0 } });
    expect(server.commands.join()).not.toContain('DELE');
  });
});

describe('credentials that a server refuses', () => {
  it('are tried three times, and then not until they change', async () => {
    const server = await serveMails({ mails: mails('a'), account: { user: 'jo', password: 'right' } });
    const mailbox = await stored(server, {}, { username: 'jo', password: 'wrong' });
    for (const state of ['retrying', 'retrying', 'needs_credentials']) {
      expect(await fetchNow(mailbox)).toMatchObject({ state: 'failed', error: { code: 'upstream_auth_failed' } });
      expect(await look(mailbox)).toMatchObject({ state, failure: { code: 'upstream_auth_failed' } });
    }
    const refused = await service.api('POST', `/v1/mailboxes/${mailbox.id}/fetches`);
    expect(refused.asProblem()).toMatchObject({ status: 409, code: 'conflict' });
    const body = { source: { password: 'right' } };
    expect((await service.api('PATCH', `/v1/mailboxes/${mailbox.id}`, { body })).json()).toMatchObject({ state: 'ok' });
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
  });

  it('are never sent to another place than they were given for', async () => {
    const server = await serveMails({ mails: mails('a') });
    const mailbox = await stored(server);
    for (const source of [{ host: 'localhost' }, { port: server.port + 1 }, { username: 'other' }]) {
      const answer = await service.api('PATCH', `/v1/mailboxes/${mailbox.id}`, { body: { source } });
      expect(answer.asProblem()).toMatchObject({ status: 400, code: 'invalid_request' });
    }
    const body = { source: { username: 'other', password: 'q' } };
    const changed = (await service.api('PATCH', `/v1/mailboxes/${mailbox.id}`, { body })).json() as MailboxBody;
    expect(changed).toMatchObject({ id: mailbox.id, source: { username: 'other' } });
  });
});

describe('a schedule', () => {
  it('has a mailbox fetched by itself, and quiet fetches are not kept', async () => {
    const server = await serveMails({ mails: mails('a') });
    const mailbox = await stored(server, { schedule: { every: '30s' } });
    expect(mailbox.nextFetchAt).not.toBeNull();
    await expect.poll(() => look(mailbox), { timeout: 45_000 }).toMatchObject({ lastFetch: { state: 'succeeded' } });
    const { lastFetch, nextFetchAt } = await look(mailbox);
    expect(await subjectsOf({ id: lastFetch!.id } as FetchBody)).toEqual(['mail a']);
    expect(Date.parse(nextFetchAt!)).toBeGreaterThan(Date.parse(lastFetch!.endedAt));
  }, 60_000);

  it('does not count while a mailbox is paused, and does again afterwards', async () => {
    const server = await serveMails({ mails: [] });
    const mailbox = await stored(server, { schedule: { cron: '0 8 * * *', timeZone: 'Europe/Berlin' } });
    const change = async (body: object) =>
      (await service.api('PATCH', `/v1/mailboxes/${mailbox.id}`, { body })).json() as MailboxBody;
    expect(await change({ paused: true })).toMatchObject({ state: 'paused', nextFetchAt: null });
    expect((await change({ paused: false })).nextFetchAt).not.toBeNull();
    expect((await change({ schedule: null })).nextFetchAt).toBeNull();
  });

  it.each([{ every: '1s' }, { every: 'often' }, { cron: '61 * * * *' }, { cron: '0 0 30 2 *' }])(
    '%j is refused',
    async (schedule) => {
      const source = { host: '127.0.0.1', port: 1, tls: 'none', username: 'u', password: 'p' };
      const answer = await service.api('POST', '/v1/mailboxes', { body: { source, schedule } });
      expect(answer.asProblem()).toMatchObject({ status: 400, code: 'invalid_request' });
    },
  );
});

describe('a reset', () => {
  it('forgets, so that all is fetched again under the same ids', async () => {
    const server = await serveMails({ mails: mails('a', 'b') });
    const mailbox = await stored(server);
    const before = await service.listMessages((await fetchNow(mailbox)).id);
    const answer = await service.api('POST', `/v1/mailboxes/${mailbox.id}/reset`, { body: { mode: 'forget' } });
    expect(answer.status).toBe(204);
    expect(await ledgerOf(mailbox)).toEqual([]);
    const after = await service.listMessages((await fetchNow(mailbox)).id);
    expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  });

  it('to now leaves aside all that is there', async () => {
    const server = await serveMails({ mails: mails('a', 'b') });
    const mailbox = await stored(server);
    const answer = await service.api('POST', `/v1/mailboxes/${mailbox.id}/reset`, { body: { mode: 'now' } });
    expect(answer.status).toBe(202);
    await service.api('GET', `/v1/fetches/${(answer.json() as FetchBody).id}`, { headers: { prefer: 'wait=30' } });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { listed: 2, retrieved: 0 } });
    server.mails = mails('a', 'b', 'c');
    expect(await subjectsOf(await fetchNow(mailbox))).toEqual(['mail c']);
  });
});

describe('an import', () => {
  it('stores each line that can be, tells of each that cannot, and stores what is missing when it is sent again', async () => {
    const server = await serveMails({ mails: mails('a') });
    const source = (username: string) => ({
      host: '127.0.0.1',
      port: server.port,
      tls: 'none',
      username,
      password: 'p',
    });
    const lines = [
      JSON.stringify({ source: source('import-1'), schedule: { every: '1h' } }),
      '',
      JSON.stringify({ source: source('import-2'), nonsense: 1 }),
      '{"source":',
      JSON.stringify({ source: { ...source('import-3'), host: '169.254.169.254' } }),
      JSON.stringify({ source: source('import-4'), schedule: { every: '1s' } }),
      `${JSON.stringify({ source: source('import-5'), delete: { keepLast: 3 } })}\r`,
    ];
    const send = async (body: string) =>
      service.api('POST', '/v1/mailboxes/import', { body, headers: { 'content-type': 'application/x-ndjson' } });
    const answer = await send(lines.join('\n'));
    expect(answer.status, answer.text).toBe(200);
    const { created, refused, items } = answer.json() as components['schemas']['MailboxImport'];
    expect([created, refused]).toEqual([2, 4]);
    expect(items.map(({ line, problem }) => [line, problem?.code ?? null])).toEqual([
      [1, null],
      [3, 'invalid_request'],
      [4, 'invalid_json'],
      [5, 'egress_blocked'],
      [6, 'invalid_request'],
      [7, null],
    ]);
    expect(await fetchNow({ id: items[0]!.id } as MailboxBody)).toMatchObject({
      state: 'succeeded',
      counts: { retrieved: 1 },
    });
    expect(await look({ id: items[5]!.id } as MailboxBody)).toMatchObject({
      delete: { keepLast: 3 },
      limits: { messages: 10_000 },
    });
    const again = (await send(lines.join('\n'))).json() as components['schemas']['MailboxImport'];
    expect(again.items.filter(({ problem }) => problem?.code === 'conflict').map(({ line }) => line)).toEqual([1, 7]);
  });

  it('of too many lines stores none, and one of another type is refused', async () => {
    const headers = { 'content-type': 'application/x-ndjson' };
    const many = await service.api('POST', '/v1/mailboxes/import', { body: '{}\n'.repeat(10_001), headers });
    expect(many.asProblem()).toMatchObject({ status: 400, code: 'invalid_request' });
    const json = await service.api('POST', '/v1/mailboxes/import', { body: {} });
    expect(json.asProblem()).toMatchObject({ status: 415 });
  });
});

describe('the list of mailboxes', () => {
  it('has each once, page by page; one that is deleted is gone, and its mail is not', async () => {
    const server = await serveMails({ mails: mails('a') });
    const made = [await stored(server), await stored(server), await stored(server)];
    const [first] = made;
    const fetch = await fetchNow(first!);
    const listed: string[] = [];
    for (let cursor = ''; ;) {
      const page = await service.api('GET', `/v1/mailboxes?limit=2${cursor}`);
      const { items, nextCursor } = page.json() as components['schemas']['MailboxPage'];
      listed.push(...items.map(({ id }) => id));
      if (nextCursor === null) break;
      cursor = `&cursor=${nextCursor}`;
    }
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed).toEqual(expect.arrayContaining(made.map(({ id }) => id)));
    expect((await service.api('DELETE', `/v1/mailboxes/${first!.id}`)).status).toBe(204);
    expect((await service.api('GET', `/v1/mailboxes/${first!.id}`)).asProblem().status).toBe(404);
    expect((await service.api('DELETE', `/v1/mailboxes/${first!.id}`)).asProblem().status).toBe(404);
    expect(await service.listMessages(fetch.id)).toHaveLength(1);
  });
});
