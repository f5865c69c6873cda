/** The ways to log in as they meet a server: which one is taken, and what a refusal leads to. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Pop3CommandError,
  Pop3Error,
  Pop3ProtocolError,
  type Pop3Settings,
  type WireEntry,
} from '../../src/pop3/index.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { connect, failureOf, PASSWORD, startFake } from './fake-session.ts';

async function logIn(server: Parameters<typeof connect>[0], settings: Partial<Pop3Settings> = {}) {
  const client = await connect(server, { skipCapa: false, ...settings });
  await client.login();
  return client;
}

const plain = Buffer.from(`\0u\0${PASSWORD}`).toString('base64');

describe('against a scripted server', () => {
  it('takes USER and PASS where CAPA lists no SASL', async () => {
    const server = await startFake({ capabilities: ['USER', 'UIDL'] });
    await logIn(server);
    expect(server.commands).toEqual(['CAPA', 'USER u', `PASS ${PASSWORD}`, 'CAPA']);
  });

  it('takes the strongest way that is offered, in one line where that is short enough', async () => {
    const server = await startFake({
      capabilities: ['USER', 'SASL PLAIN LOGIN'],
      on: { AUTH: (_args, session) => (session.logIn(), '+OK') },
    });
    await logIn(server);
    expect(server.commands).toEqual(['CAPA', `AUTH PLAIN ${plain}`, 'CAPA']);
  });

  it('goes in two steps with a server that takes no initial response', async () => {
    const server = await startFake({
      capabilities: ['SASL PLAIN'],
      on: { AUTH: () => '+ ', [plain.toUpperCase()]: (_args, session) => (session.logIn(), '+OK') },
    });
    await logIn(server, { twoStep: true });
    expect(server.commands).toEqual(['CAPA', 'AUTH PLAIN', plain, 'CAPA']);
  });

  it('does not hand a refused password over again by another name', async () => {
    const server = await startFake({
      capabilities: ['USER', 'SASL PLAIN LOGIN'],
      on: { AUTH: (args) => `-ERR [AUTH] no: ${args}` },
    });
    const error = await failureOf(logIn(server));
    expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(server.commands.filter((line) => line !== 'CAPA')).toHaveLength(1);
    for (const secret of [PASSWORD, plain]) expect(error.message).not.toContain(secret);
  });

  it('ends the session when the server breaks the exchange', async () => {
    const foreign = Buffer.from('r=not-ours,s=QSXCR+Q6sek8bf92,i=4096').toString('base64');
    const server = await startFake({ capabilities: ['SASL SCRAM-SHA-256'], on: { AUTH: () => `+ ${foreign}` } });
    const client = await connect(server, { skipCapa: false });
    expect(await failureOf(client.login())).toBeInstanceOf(Pop3ProtocolError);
    await server.idle();
  });

  it('tells of the token, and not the token, when it is refused', async () => {
    const challenge = Buffer.from('{"status":"401","schemes":"bearer","scope":"mail"}').toString('base64');
    const server = await startFake({
      capabilities: ['SASL XOAUTH2'],
      on: { AUTH: () => `+ ${challenge}`, '': () => '-ERR [AUTH] failed' },
    });
    const { password: _none, ...rest } = {
      password: '',
      accessToken: 'ya29.secret-token',
      mechanism: 'XOAUTH2' as const,
    };
    const error = await failureOf(logIn(server, rest));
    expect(error).toBeInstanceOf(Pop3CommandError);
    expect(error.message).toContain('401');
    expect(error.message).not.toContain('ya29.secret-token');
  });

  it('tells what was refused, and by which response code, whatever the credentials are', async () => {
    const challenge = Buffer.from('{"status":"401"}').toString('base64');
    const token = await startFake({
      capabilities: ['SASL XOAUTH2'],
      on: { AUTH: () => `+ ${challenge}`, '': () => '-ERR [AUTH] failed' },
    });
    const refusedToken = await failureOf(logIn(token, { accessToken: 'ya29.token', mechanism: 'XOAUTH2' }));
    expect(refusedToken).toMatchObject({ responseCode: 'AUTH', isRetryable: false, fields: { status: '401' } });
    const external = await startFake({ capabilities: ['SASL EXTERNAL'], on: { AUTH: () => '-ERR [AUTH] who?' } });
    const refused = await failureOf(logIn(external, { mechanism: 'EXTERNAL' }));
    expect(refused).toMatchObject({ code: 'upstream_auth_failed', responseCode: 'AUTH' });
    expect(refused.message).toContain('refused the client certificate');
  });

  it('shows no digest of a password that a server says back', async () => {
    const server = await startFake({
      capabilities: ['SASL CRAM-MD5'],
      on: {
        AUTH: () => `+ ${Buffer.from('<1@example.com>').toString('base64')}`,
        '*': () => `-ERR [AUTH] bad: ${Buffer.from(server.commands.at(-1) ?? '', 'base64').toString()}`,
        CAPA: () => undefined,
      },
    });
    const lines: string[] = [];
    const onWire = (entry: WireEntry): void => void lines.push(JSON.stringify(entry));
    const client = await connect(server, { skipCapa: false }, { onWire });
    const error = await failureOf(client.login());
    expect(error).toMatchObject({ code: 'upstream_auth_failed' });
    const sent = Buffer.from(server.commands.at(-1) ?? '', 'base64').toString();
    const digest = sent.slice(sent.lastIndexOf(' ') + 1);
    expect(digest).toMatch(/^[0-9a-f]{32}$/);
    for (const text of [error.message, ...lines]) expect(text).not.toContain(digest);
    expect(error.message).toContain('[redacted]');
  });

  it('a way that is not offered is refused before anything is sent', async () => {
    const server = await startFake({ capabilities: ['USER', 'SASL PLAIN'] });
    const error = await failureOf(logIn(server, { mechanism: 'SCRAM-SHA-256' }));
    expect(error).toBeInstanceOf(Pop3Error);
    expect(error.message).toContain('PLAIN');
    expect(server.commands).toEqual(['CAPA']);
  });
});

describe.skipIf(!dovecotAvailable())('against Dovecot (skipped where dovecot-pop3d is not installed)', () => {
  let dovecot: Dovecot;
  beforeAll(async () => {
    dovecot = await startDovecot({ users: { u: { password: PASSWORD } } });
  });
  afterAll(() => dovecot?.close());

  it.each(['PLAIN', 'user', undefined] as const)('logs in by %s, under TLS', async (mechanism) => {
    const { host, tlsPort: port, ca } = dovecot;
    const client = await logIn({ host, port }, { tls: 'implicit', ca, ...(mechanism && { mechanism }) });
    expect(await client.stat()).toEqual({ count: 0, bytes: 0 });
    await client.quit();
  });
});
