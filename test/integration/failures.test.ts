/** Everything that goes wrong upstream is a typed error, soon, with nothing lost: from the API's point of view. */
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { cutBody, startFakePop3, type FakePop3, type FakePop3Options } from '../support/fake-pop3.ts';
import { startService, type FetchRequestBody, type Service } from '../support/service.ts';

const MAILS = [1, 2, 3, 4, 5].map((n) => Buffer.from(`Subject: mail ${n}\r\n\r\nText ${n}.\r\n`));

let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service?.close();
});

async function fakeServer(options: FakePop3Options): Promise<FakePop3> {
  const server = await startFakePop3(options);
  onTestFinished(() => server.close());
  return server;
}

function request(port: number, more: object = {}, host = '127.0.0.1', tls = 'none'): FetchRequestBody {
  return { source: { host, port, tls, username: 'u', password: 'p' }, ...more } as FetchRequestBody;
}

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('what is wrong before the login ends the fetch at once', () => {
  it('unknown host', async () => {
    const fetch = await service.fetchMail(request(995, {}, 'no-such-host.invalid', 'implicit'));
    expect(fetch).toMatchObject({ state: 'failed', error: { code: 'upstream_unreachable', nextAttemptAt: null } });
    expect(fetch.error?.detail).toContain('no-such-host.invalid');
  });

  it('refused connection', async () => {
    const fetch = await service.fetchMail(request(await closedPort()));
    expect(fetch).toMatchObject({
      state: 'failed',
      error: { code: 'upstream_unreachable', phase: 'connect', retryable: true },
    });
  });

  it.each([
    ['SMTP', '220 mx.example.com ESMTP ready', /SMTP/],
    ['IMAP', '* OK IMAP4rev1 ready', /IMAP/],
    ['HTTP', 'HTTP/1.1 400 Bad Request', /HTTP/],
    ['something else', 'hello there', /hello there/],
  ])('not a POP3 server but %s', async (_name, greeting, expected) => {
    const server = await fakeServer({ greeting });
    const fetch = await service.fetchMail(request(server.port));
    expect(fetch).toMatchObject({ state: 'failed', error: { code: 'upstream_not_pop3', phase: 'greeting' } });
    expect(fetch.error?.detail).toMatch(expected);
  });

  it('TLS to a plaintext port', async () => {
    const server = await fakeServer({ mails: MAILS });
    const fetch = await service.fetchMail(request(server.port, {}, '127.0.0.1', 'implicit'));
    expect(fetch).toMatchObject({ state: 'failed', error: { code: 'upstream_tls_failed', phase: 'tls' } });
    expect(fetch.error?.detail).toContain('starttls');
  });

  it('a server without STLS, asked for starttls: nothing is sent in the clear', async () => {
    const server = await fakeServer({ mails: MAILS });
    const fetch = await service.fetchMail(request(server.port, {}, '127.0.0.1', 'starttls'));
    expect(fetch).toMatchObject({ state: 'failed', error: { code: 'upstream_tls_failed' } });
    expect(server.commands.join()).not.toMatch(/USER|PASS/);
  });

  it('closed while greeting', async () => {
    const server = await fakeServer({ greeting: 'close' });
    const fetch = await service.fetchMail(request(server.port));
    expect(fetch).toMatchObject({ state: 'failed', error: { code: 'upstream_closed', phase: 'greeting' } });
  });
});

describe('what goes wrong midway costs one message and not the rest', () => {
  it('a server that is gone in the middle of a message is asked again, and the fetch completes', async () => {
    let cuts = 0;
    const cutOnce = () => (cuts++ === 0 ? cutBody(MAILS[2]!, 5, 'reset') : undefined);
    const server = await fakeServer({ mails: MAILS, on: { 'RETR 3': cutOnce } });
    const fetch = await service.fetchMail(request(server.port));
    expect(fetch).toMatchObject({ state: 'succeeded', attempts: 2, counts: { retrieved: 5, failed: 0 } });
    expect(server.commands.filter((line) => line === 'RETR 1')).toHaveLength(1);
  });

  it('a message that breaks the session every time is left for last, and the others come', async () => {
    const server = await fakeServer({ mails: MAILS, on: { 'RETR 2': () => cutBody(MAILS[1]!, 5, 'close') } });
    const fetch = await service.fetchMail(request(server.port, { delete: 'stored' }));
    expect(fetch).toMatchObject({
      state: 'failed',
      attempts: 4,
      error: { code: 'upstream_closed', phase: 'retrieve' },
      counts: { listed: 5, retrieved: 4, failed: 1, deleted: 0 },
      failures: [{ number: 2, code: 'upstream_closed' }],
    });
    expect(await service.listMessages(fetch.id)).toHaveLength(4);
    expect(server.mails, 'nothing is deleted by a session that did not reach QUIT').toHaveLength(5);
  });

  it('a message that the server refuses is counted, and the others come', async () => {
    const server = await fakeServer({ mails: MAILS, on: { 'RETR 4': () => '-ERR no such thing \u0007here' } });
    const fetch = await service.fetchMail(request(server.port, { delete: 'stored' }));
    expect(fetch).toMatchObject({
      state: 'succeeded',
      counts: { retrieved: 4, failed: 1, deleted: 4 },
      failures: [{ number: 4, uidl: 'uid-4', code: 'upstream_command_failed' }],
    });
    expect(fetch.failures[0]?.detail).toContain('\\u0007');
    expect(server.mails.map(({ uidl }) => uidl)).toEqual(['uid-4']);
  });

  it('a message that grows over its listed size is a header section, and the others come', async () => {
    const server = await fakeServer({ mails: MAILS, on: { 'RETR 2': () => big(4096) } });
    const fetch = await service.fetchMail(request(server.port, { limits: { messageBytes: 2000 } }));
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: 4, omitted: 1, failed: 0 }, failures: [] });
    expect((await service.listMessages(fetch.id)).map(({ omitted }) => omitted)).toEqual([
      null,
      'too_large',
      null,
      null,
      null,
    ]);
  });

  it('a message that is too large, on a server without TOP, is a failure that says so, and the others come', async () => {
    const mails = MAILS.with(1, Buffer.concat([MAILS[1]!, Buffer.alloc(4096, 'x\r\n')]));
    const server = await fakeServer({ mails, on: { TOP: () => '-ERR unknown command' } });
    const fetch = await service.fetchMail(request(server.port, { limits: { messageBytes: 2000 } }));
    expect(fetch).toMatchObject({
      state: 'succeeded',
      counts: { retrieved: 4, omitted: 0, failed: 1 },
      failures: [{ number: 2, code: 'message_too_large' }],
    });
  });

  it('a message that breaks the session when its header section is asked for keeps neither the others nor their deletion', async () => {
    const mails = MAILS.with(1, Buffer.concat([MAILS[1]!, Buffer.alloc(4096, 'x\r\n')]));
    const server = await fakeServer({ mails, on: { TOP: () => 'close' } });
    const fetch = await service.fetchMail(request(server.port, { delete: 'stored', limits: { messageBytes: 2000 } }));
    expect(fetch).toMatchObject({
      state: 'succeeded',
      counts: { retrieved: 4, omitted: 0, failed: 1, deleted: 4 },
      failures: [{ number: 2, code: 'message_too_large' }],
    });
    expect(server.commands.filter((line) => line.startsWith('RETR'))).toHaveLength(4);
    expect(server.mails.map(({ raw }) => raw)).toEqual([mails[1]]);
  });

  it('a message that is too large is never deleted, whatever the policy', async () => {
    const mails = MAILS.with(1, Buffer.concat([MAILS[1]!, Buffer.alloc(4096, 'x\r\n')]));
    const server = await fakeServer({ mails });
    const fetch = await service.fetchMail(request(server.port, { delete: 'stored', limits: { messageBytes: 2000 } }));
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: 4, omitted: 1, deleted: 4 } });
    expect(server.mails.map(({ raw }) => raw)).toEqual([mails[1]]);
  });

  it('QUIT without an answer leaves the deletion unknown', async () => {
    const server = await fakeServer({ mails: MAILS, on: { QUIT: () => 'close' } });
    const fetch = await service.fetchMail(request(server.port, { delete: 'stored' }));
    expect(fetch).toMatchObject({ state: 'succeeded', deletion: 'unknown', counts: { retrieved: 5, deleted: 0 } });
  });

  it('a maildrop without unique-ids is told apart by its bytes', async () => {
    const twins = [...MAILS, MAILS[0]!];
    const server = await fakeServer({ mails: twins, on: { UIDL: () => '-ERR unknown command' } });
    const first = await service.fetchMail(request(server.port));
    const second = await service.fetchMail(request(server.port));
    expect(first).toMatchObject({ state: 'succeeded', counts: { listed: 6, retrieved: 6 } });
    const [before, after] = await Promise.all([first, second].map(({ id }) => service.listMessages(id)));
    expect(after).toHaveLength(6);
    expect(after?.map(({ id }) => id)).toEqual(before?.map(({ id }) => id));
  });

  it('a unique-id that the server gives twice makes two messages', async () => {
    const mails = MAILS.slice(0, 2).map((raw) => ({ uidl: 'same', raw }));
    const server = await fakeServer({ mails });
    const fetch = await service.fetchMail(request(server.port));
    expect((await service.listMessages(fetch.id)).map(({ subject }) => subject)).toEqual(['mail 1', 'mail 2']);
  });
});

describe('a maildrop that is busy is waited for', () => {
  it('a server that says IN-USE delays the fetch, which says when it goes on', async () => {
    let refusals = 0;
    const inUse = () => (refusals++ === 0 ? '-ERR [IN-USE] maildrop locked' : undefined);
    const server = await fakeServer({ mails: MAILS, on: { PASS: inUse } });
    const created = await service.api('POST', '/v1/fetches', {
      body: request(server.port),
      headers: { prefer: 'wait=2' },
    });
    expect(created.status).toBe(202);
    expect(created.asFetch()).toMatchObject({
      state: 'queued',
      error: { code: 'upstream_locked', retryable: true },
    });
    expect(Date.parse(created.asFetch().error?.nextAttemptAt ?? '')).toBeGreaterThan(Date.now());
    const ended = await service.api('GET', created.headers.location!, { headers: { prefer: 'wait=20' } });
    expect(ended.asFetch()).toMatchObject({ state: 'succeeded', error: null, counts: { retrieved: 5 } });
  });

  it('a server that wants a pause between two logins gets it', async () => {
    const refused = () => '-ERR [LOGIN-DELAY] minimum time between mail checks violation';
    const server = await fakeServer({ capabilities: ['USER', 'UIDL', 'LOGIN-DELAY 40'], on: { PASS: refused } });
    const fetch = await service.api('POST', '/v1/fetches', {
      body: request(server.port),
      headers: { prefer: 'wait=2' },
    });
    const { error, state } = fetch.asFetch();
    expect({ state, error }).toMatchObject({ state: 'queued', error: { code: 'upstream_locked', retryable: true } });
    expect(error?.detail).toContain('40 s between two logins');
    // 5 s, were it not for what the server said.
    expect(Date.parse(error?.nextAttemptAt ?? '') - Date.now()).toBeGreaterThan(30_000);
    const cancelled = await service.api('DELETE', fetch.headers.location!);
    expect(cancelled.status).toBeLessThan(300);
  });

  it('two fetches of one maildrop never meet in it', async () => {
    const server = await fakeServer({ mails: MAILS });
    const held = server.hold('RETR 2');
    const first = service.api('POST', '/v1/fetches', { body: request(server.port), headers: { prefer: 'wait=30' } });
    await held.reached;
    const second = service.api('POST', '/v1/fetches', { body: request(server.port), headers: { prefer: 'wait=30' } });
    const { id } = (
      await service.api('POST', '/v1/fetches', { body: request(await closedPort()), headers: { prefer: 'wait=30' } })
    ).asFetch();
    expect(id, 'another maildrop is not held up').toBeTruthy();
    expect(server.connections).toBe(1);
    held.release();
    const states = (await Promise.all([first, second])).map((response) => response.asFetch().state);
    expect(states).toEqual(['succeeded', 'succeeded']);
    expect(server.connections).toBe(2);
  });
});

describe('cancelling', () => {
  it('ends a running fetch, keeps what it had stored, and leaves no connection', async () => {
    const server = await fakeServer({ mails: MAILS });
    const held = server.hold('RETR 3');
    const created = (await service.api('POST', '/v1/fetches', { body: request(server.port) })).asFetch();
    await held.reached;
    const response = await service.api('DELETE', `/v1/fetches/${created.id}`);
    expect(response.status).toBe(202);
    const ended = await service.api('GET', `/v1/fetches/${created.id}`, { headers: { prefer: 'wait=10' } });
    expect(ended.asFetch()).toMatchObject({ state: 'cancelled', counts: { retrieved: 2 } });
    await server.idle();
    expect(await service.listMessages(created.id)).toHaveLength(2);
    held.release();
  });

  it('deletes a fetch that has ended, with its messages', async () => {
    const server = await fakeServer({ mails: MAILS });
    const fetch = await service.fetchMail(request(server.port));
    const [message] = await service.listMessages(fetch.id);
    expect((await service.api('DELETE', `/v1/fetches/${fetch.id}`)).status).toBe(204);
    for (const path of [`/v1/fetches/${fetch.id}`, `/v1/messages/${message?.id}`, `/v1/messages/${message?.id}/raw`]) {
      expect((await service.api('GET', path)).status, path).toBe(404);
    }
  });
});

function big(bytes: number): Buffer {
  return Buffer.from(
    `+OK\r\nSubject: big\r\n\r\n${'x'
      .repeat(70)
      .concat('\r\n')
      .repeat(bytes / 72)}\r\n.\r\n`,
  );
}
