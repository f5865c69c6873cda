/** Filters over the real service: what is left on the server, by its size or its header fields, and what the ledger says of it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMailboxClient, serveMails } from '../support/mailboxes.ts';
import { startService, type FetchBody, type Service } from '../support/service.ts';

let service: Service;
const { store: stored, fetch: fetchNow, ledger: ledgerOf, subjects: subjectsOf } = createMailboxClient(() => service);
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service?.close();
});

/** Mail of that subject. */
const about = (uidl: string, subject: string) => ({
  uidl,
  raw: Buffer.from(`Subject: ${subject}\r\n\r\n${'Text.\r\n'.repeat(9)}`),
});

describe('a filter', () => {
  const wanted = { filter: { headers: [{ name: 'subject', contains: ['invoice'] }] } };
  const two = [about('a', 'Invoice 1'), about('b', 'Holiday'), about('c', '=?utf-8?q?In?= =?utf-8?q?voice_2?=')];

  it('keeps from being retrieved what it does not want, and the ledger says why', async () => {
    const server = await serveMails({ mails: two });
    const mailbox = await stored(server, wanted);
    expect(mailbox).toMatchObject(wanted);
    const fetch = await fetchNow(mailbox);
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: 2, filtered: 1, skipped: 0, failed: 0 } });
    expect(fetch).toMatchObject(wanted);
    expect(await subjectsOf(fetch)).toEqual(['Invoice 1', 'Invoice 2']);
    expect(server.commands.filter((line) => /^(TOP|RETR)/.test(line))).toEqual([
      'TOP 1 0',
      'TOP 2 0',
      'TOP 3 0',
      'RETR 1',
      'RETR 3',
    ]);
    expect(await ledgerOf(mailbox, '?state=skipped')).toMatchObject([
      { uidl: 'b', reason: 'filter_headers', messageId: null },
    ]);
    // Nothing is looked at twice.
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 0, filtered: 0 } });
    expect(server.commands.filter((line) => /^(TOP|RETR)/.test(line))).toHaveLength(5);
  });

  it('drops what it does not want when it is here, where the server has no TOP; deletes nothing of it', async () => {
    for (const capabilities of [['UIDL', 'USER'], []]) {
      const server = await serveMails({ mails: two, capabilities, on: { TOP: () => '-ERR What?' } });
      const mailbox = await stored(server, { ...wanted, delete: 'stored' });
      const fetch = await fetchNow(mailbox);
      expect(fetch).toMatchObject({ counts: { retrieved: 2, filtered: 1, failed: 0, deleted: 2 } });
      expect(await subjectsOf(fetch)).toEqual(['Invoice 1', 'Invoice 2']);
      expect(server.mails.map(({ uidl }) => uidl)).toEqual(['b']);
      expect(await ledgerOf(mailbox, '?state=skipped')).toMatchObject([{ uidl: 'b', reason: 'filter_headers' }]);
    }
  });

  it('on sizes asks the server for nothing but its list', async () => {
    const server = await serveMails({ mails: [about('a', 'x'), about('b', 'x'.repeat(100))] });
    const mailbox = await stored(server, { filter: { bytesMax: 100 } });
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { retrieved: 1, omitted: 0, filtered: 1 } });
    expect(server.commands.filter((line) => /^(TOP|RETR)/.test(line))).toEqual(['RETR 1']);
    expect(await ledgerOf(mailbox, '?state=skipped')).toMatchObject([{ uidl: 'b', reason: 'filter_size' }]);
  });

  it('that is changed or taken away lets in what the one before did not want', async () => {
    const server = await serveMails({ mails: two });
    const mailbox = await stored(server, wanted);
    await fetchNow(mailbox);
    const change = async (filter: object | null): Promise<FetchBody> => {
      const answer = await service.api('PATCH', `/v1/mailboxes/${mailbox.id}`, { body: { filter } });
      expect(answer.json()).toMatchObject({ filter });
      return fetchNow(mailbox);
    };
    expect(await change({ bytesMax: 10 })).toMatchObject({ counts: { retrieved: 0, filtered: 1 } });
    expect(await subjectsOf(await change(null))).toEqual(['Holiday']);
  });

  it('looks at more messages than it asks header sections of at once', async () => {
    const many = Array.from({ length: 250 }, (_, at) => about(`u${at}`, at % 50 === 0 ? 'invoice' : 'other'));
    const server = await serveMails({ mails: many });
    const mailbox = await stored(server, wanted);
    expect(await fetchNow(mailbox)).toMatchObject({ counts: { listed: 250, retrieved: 5, filtered: 245, skipped: 0 } });
  });

  it('is for a fetch with inline settings, too, and for what verifying says', async () => {
    const server = await serveMails({ mails: two });
    const source = { host: '127.0.0.1', port: server.port, tls: 'none', username: 'inline', password: 'p' };
    const fetch = await service.api('POST', '/v1/fetches', {
      body: { source, ...wanted },
      headers: { prefer: 'wait=30' },
    });
    expect(fetch.json()).toMatchObject({ state: 'succeeded', counts: { retrieved: 2, filtered: 1 } });
    const found = await service.api('POST', '/v1/mailboxes/verify', { body: { source, filter: { bytesMax: 1 } } });
    expect(found.json()).toMatchObject({ ok: true, wouldFetch: { messages: 0 } });
  });

  it('that says nothing is refused', async () => {
    for (const filter of [
      {},
      { headers: [] },
      { headers: [{ name: 'a' }] },
      { headers: [{ name: 'a b', contains: ['x'] }] },
    ]) {
      const source = { host: 'pop.example', tls: 'implicit', username: 'u', password: 'p' };
      const answer = await service.api('POST', '/v1/mailboxes', { body: { source, filter } });
      expect(answer.status, JSON.stringify(filter)).toBe(400);
    }
  });
});
