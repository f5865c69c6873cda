/** POST /v1/mailboxes/verify: what works, what does not and why, as the person who fills in a form needs it; and nothing is touched. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { startFakePop3, type FakePop3, type FakePop3Options } from '../support/fake-pop3.ts';
import { startService, type Service } from '../support/service.ts';

type Verification = components['schemas']['Verification'];
const MAILS = ['a', 'b', 'c'].map((name) => Buffer.from(`Subject: ${name}\r\n\r\nText.\r\n`));

let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service?.close();
});

async function verify(source: object, more: object = {}): Promise<Verification> {
  const body = { source: { host: '127.0.0.1', username: 'jo', password: 'secret-of-jo', ...source }, ...more };
  const answer = await service.api('POST', '/v1/mailboxes/verify', { body });
  expect(answer.status, answer.text).toBe(200);
  expect(answer.text).not.toContain('secret-of-jo');
  return answer.json() as Verification;
}

async function fakeServer(options: FakePop3Options): Promise<FakePop3> {
  const server = await startFakePop3(options);
  onTestFinished(() => server.close());
  return server;
}

describe.skipIf(!dovecotAvailable())('a real server (skipped where dovecot-pop3d is not installed)', () => {
  let dovecot: Dovecot;
  beforeAll(async () => {
    dovecot = await startDovecot({ users: { jo: { password: 'secret-of-jo', mails: MAILS } } });
  });
  afterAll(() => dovecot?.close());

  it('says what it is, what it holds and what a first fetch would take; and keeps all that it has', async () => {
    const found = await verify({ port: dovecot.tlsPort, ca: dovecot.ca }, { firstFetch: { last: 2 } });
    expect(found).toMatchObject({
      ok: true,
      failure: null,
      tls: { protocol: expect.stringMatching(/^TLSv1\.[23]$/) as string },
      maildrop: { messages: 3, hasUniqueIds: true, repeatedUniqueIds: 0 },
      wouldFetch: { messages: 2, tooLarge: 0 },
      warnings: [],
    });
    expect(found.tls?.certificate.names).toContain('127.0.0.1');
    expect(found.capabilities?.names).toEqual(expect.arrayContaining(['UIDL', 'TOP']));
    expect(await dovecot.maildir('jo')).toHaveLength(3);
    const { items } = (await service.api('GET', '/v1/messages')).json() as { items: unknown[] };
    expect(items).toEqual([]);
  });

  it('without its authority, with another mode or a wrong password says what to do', async () => {
    const untrusted = await verify({ port: dovecot.tlsPort });
    expect(untrusted).toMatchObject({ ok: false, failure: { code: 'upstream_tls_failed', phase: 'tls' } });
    expect(untrusted.failure?.hint).toContain('ca');
    expect(await verify({ port: dovecot.port, ca: dovecot.ca })).toMatchObject({
      failure: { code: 'upstream_tls_failed' },
    });
    const refused = await verify({ port: dovecot.tlsPort, ca: dovecot.ca, password: 'not-that' });
    expect(refused).toMatchObject({ ok: false, failure: { code: 'upstream_auth_failed', phase: 'login' } });
    // What was found until then is there.
    expect(refused.tls).not.toBeNull();
    expect(refused.capabilities?.names).toContain('UIDL');
    expect(refused.failure?.hint).toContain('app password');
  });
});

describe('warnings', () => {
  it('tell of what will trouble fetches, though they work', async () => {
    const server = await fakeServer({
      mails: ['x', 'x'].map((uidl) => ({ uidl, raw: MAILS[0]! })),
      capabilities: ['UIDL', 'USER', 'LOGIN-DELAY 60', 'EXPIRE 30'],
    });
    const { warnings } = await verify({ port: server.port, tls: 'none' });
    expect(warnings.map(({ code }) => code)).toEqual([
      'password_in_clear',
      'repeated_unique_ids',
      'no_top',
      'expires',
      'login_delay',
    ]);
  });

  it('tell of a server without unique-ids', async () => {
    const server = await fakeServer({ mails: MAILS, on: { UIDL: () => '-ERR unknown command' } });
    const { maildrop, warnings } = await verify({ port: server.port, tls: 'none' });
    expect(maildrop).toMatchObject({ messages: 3, hasUniqueIds: false });
    expect(warnings.map(({ code }) => code)).toContain('no_unique_ids');
  });
});

describe('a verification', () => {
  it('retrieves and deletes nothing', async () => {
    const server = await fakeServer({ mails: MAILS });
    await verify({ port: server.port, tls: 'none' });
    expect(server.commands.filter((line) => /^(RETR|TOP|DELE)/.test(line))).toEqual([]);
    expect(server.commands.at(-1)).toBe('QUIT');
  });

  it('says that another service answers, or none', async () => {
    const smtp = await fakeServer({ greeting: '220 mx.example.com ESMTP' });
    expect(await verify({ port: smtp.port, tls: 'none' })).toMatchObject({
      ok: false,
      failure: { code: 'upstream_not_pop3', retryable: false },
    });
    await smtp.close();
    expect(await verify({ port: smtp.port, tls: 'none' })).toMatchObject({
      failure: { code: 'upstream_unreachable', retryable: true },
      tls: null,
      capabilities: null,
      maildrop: null,
    });
  });

  it('connects to nothing that the egress policy forbids, and says so', async () => {
    expect(await verify({ host: '169.254.169.254' })).toMatchObject({ ok: false, failure: { code: 'egress_blocked' } });
  });

  it('waits for no fetch of ours: 409', async () => {
    const server = await fakeServer({ mails: MAILS });
    const source = { host: '127.0.0.1', port: server.port, tls: 'none', username: 'busy', password: 'p' };
    const held = server.hold('RETR');
    const started = await service.api('POST', '/v1/fetches', { body: { source } });
    await held.reached;
    const answer = await service.api('POST', '/v1/mailboxes/verify', { body: { source } });
    expect(answer.asProblem()).toMatchObject({ status: 409, code: 'conflict' });
    held.release();
    await service.api('GET', `/v1/fetches/${started.asFetch().id}`, { headers: { prefer: 'wait=30' } });
    // And leaves the maildrop to the next one.
    expect((await service.api('POST', '/v1/mailboxes/verify', { body: { source } })).json()).toMatchObject({
      ok: true,
    });
    expect((await service.fetchMail({ source } as never)).state).toBe('succeeded');
  });
});
