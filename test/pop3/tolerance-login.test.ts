/** Servers that bear CAPA badly, greet tersely, and refuse a password in a way of their own. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Pop3CommandError, Pop3ConnectionError } from '../../src/pop3/index.ts';
import type { FakePop3Options } from '../support/fake-pop3.ts';
import { connect, failureOf, logIn, PASSWORD, startFake } from './fake-session.ts';

const askingCapa = { skipCapa: false };
const CHALLENGE = Buffer.from('<1896.697170952@server.example>').toString('base64');

describe('CAPA', () => {
  it.each(['close', 'reset'] as const)(
    'answered by a %s is not asked again: the client connects once more and works without',
    async (ending) => {
      const fake = await startFake({ mails: ['a\r\n'], on: { CAPA: () => ending } });
      const client = await logIn(fake, askingCapa);
      expect(await client.stat()).toEqual({ count: 1, bytes: 3 });
      expect(client.capabilities.entries.size).toBe(0);
      expect(await client.quit()).toBe(true);
      expect(fake.connections).toBe(2);
      expect(fake.commands).toEqual(['CAPA', 'USER u', `PASS ${PASSWORD}`, 'STAT', 'QUIT']);
      await fake.idle();
    },
  );

  it('answered by closing leads to a second connection and no third', async () => {
    const fake = await startFake({ on: { CAPA: () => 'close', USER: () => 'close' } });
    expect(await failureOf(logIn(fake, askingCapa))).toMatchObject({ code: 'upstream_closed', phase: 'login' });
    expect(fake.connections).toBe(2);
    await fake.idle();
  });

  it('refused with -ERR is done without on the same connection, and not asked for again after the login', async () => {
    const fake = await startFake({ mails: ['a\r\n'], on: { CAPA: () => '-ERR unknown command' } });
    const client = await logIn(fake, askingCapa);
    expect(await client.stat()).toEqual({ count: 1, bytes: 3 });
    expect(fake.connections).toBe(1);
    expect(fake.commands).toEqual(['CAPA', 'USER u', `PASS ${PASSWORD}`, 'STAT']);
  });

  it('refused with -ERR after the login alone leaves what was known', async () => {
    let times = 0;
    const fake = await startFake({ on: { CAPA: () => ((times += 1) === 1 ? undefined : '-ERR not now') } });
    expect((await logIn(fake, askingCapa)).capabilities.has('UIDL')).toBe(true);
    expect(times).toBe(2);
  });

  it('may be written with several spaces, and blank lines between its lines', async () => {
    const reply = Buffer.from('+OK  here\r\n\r\n  SASL   PLAIN \t LOGIN  \r\n \r\n UIDL \r\n.\r\n');
    const client = await connect(await startFake({ on: { CAPA: () => reply } }), askingCapa);
    expect(client.capabilities.sasl).toEqual(['PLAIN', 'LOGIN']);
    expect(client.capabilities.has('UIDL')).toBe(true);
  });
});

describe('a greeting of bare +OK', () => {
  it.each(['+OK\r\n', '+OK\n', '+OK \r\n', '+ok\r\n'])('written %j is a greeting', async (greeting) => {
    const fake = await startFake({ greeting: Buffer.from(greeting) });
    const client = await logIn(fake, askingCapa);
    expect(await client.quit()).toBe(true);
  });
});

/** Where in a login the password, or what proves it, is out. */
const REFUSED_AT: readonly [
  way: string,
  capabilities: string[],
  on: (ending: 'close' | 'reset') => FakePop3Options['on'],
][] = [
  ['USER and PASS', ['USER'], (ending) => ({ PASS: () => ending })],
  ['AUTH PLAIN in one line', ['SASL PLAIN'], (ending) => ({ AUTH: () => ending })],
  [
    'AUTH CRAM-MD5',
    ['SASL CRAM-MD5 PLAIN'],
    (ending) => ({ AUTH: () => `+ ${CHALLENGE}`, '*': () => ending, CAPA: () => undefined }),
  ],
];

describe('a wrong password', () => {
  it.each(REFUSED_AT)('by %s answered by closing without a word is a wrong password', async (_, capabilities, on) => {
    const fake = await startFake({ capabilities, on: on('close') ?? {} });
    const failure = await failureOf(logIn(fake, askingCapa));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(failure.message).not.toContain(PASSWORD);
    expect(fake.connections).toBe(1);
    await fake.idle();
  });

  it.each(REFUSED_AT)(
    'by %s answered by a reset may be a good one: the connection failed',
    async (_, capabilities, on) => {
      const fake = await startFake({ capabilities, on: on('reset') ?? {} });
      const failure = await failureOf(logIn(fake, askingCapa));
      expect(failure).toBeInstanceOf(Pop3ConnectionError);
      expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'login', isRetryable: true });
      await fake.idle();
    },
  );

  it('is not what a server means that hangs up before it has heard it', async () => {
    const fake = await startFake({ on: { USER: () => 'close' } });
    expect(await failureOf(logIn(fake))).toMatchObject({ code: 'upstream_closed', phase: 'login' });
    const cram = await startFake({ capabilities: ['SASL CRAM-MD5'], on: { AUTH: () => 'close' } });
    expect(await failureOf(logIn(cram, askingCapa))).toMatchObject({ code: 'upstream_closed', phase: 'login' });
  });

  it.each(['close', 'reset', 'silence'] as const)(
    'answered by -ERR and a %s is refused with the -ERR, by USER and PASS',
    async (after) => {
      const fake = await startFake({ on: { PASS: () => ({ bytes: '-ERR bad password', after }) } });
      const failure = await failureOf(logIn(fake));
      expect(failure).toBeInstanceOf(Pop3CommandError);
      expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
      expect(failure.message).toContain('bad password');
    },
  );

  // popa3d: the connection is gone with the -ERR, be it noticed before the next line is written or by writing it.
  it.each(['close', 'reset'] as const)(
    'answered by -ERR and a %s stays refused where another way would have been tried next',
    async (after) => {
      const fake = await startFake({
        capabilities: ['SASL CRAM-MD5 PLAIN'],
        on: {
          'AUTH CRAM-MD5': () => `+ ${CHALLENGE}`,
          '*': (_, { authenticated }) => (authenticated ? undefined : { bytes: '-ERR bad password', after }),
          CAPA: () => undefined,
          QUIT: () => undefined,
        },
      });
      const failure = await failureOf(logIn(fake, askingCapa));
      expect(failure).toBeInstanceOf(Pop3CommandError);
      expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login', isRetryable: false });
      await fake.idle();
    },
  );

  it('stays refused where the process behind the -ERR is gone and the next way is met by a reset', async () => {
    const answers = ['+OK\r\nSASL CRAM-MD5 PLAIN\r\n.\r\n', `+ ${CHALLENGE}\r\n`, '-ERR bad password\r\n'];
    const server = createServer((socket) => {
      socket.on('error', () => undefined).write('+OK\r\n');
      socket.on('data', () => {
        const answer = answers.shift();
        // A socket that is closed, not only ended: what still comes is answered by the kernel, with a RST.
        if (answer?.startsWith('-ERR')) socket.write(answer, () => socket.destroy());
        else if (answer !== undefined) socket.write(answer);
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const failure = await failureOf(
      logIn({ host: '127.0.0.1', port: (server.address() as AddressInfo).port }, askingCapa),
    );
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
  });

  it('answered only after 5 s, as Courier does, is waited for', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const fake = await startFake({ account: { user: 'u', password: 'another' } });
    const held = fake.hold('PASS');
    const failure = failureOf(logIn(fake));
    await held.reached;
    vi.advanceTimersByTime(5000);
    expect(await Promise.race([failure, nextTurn('waiting')])).toBe('waiting');
    held.release();
    expect(await failure).toBeInstanceOf(Pop3CommandError);
    expect(await failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
  });
});

describe('a login that its own side ends', () => {
  it('while the password is under way is no wrong password', async () => {
    const fake = await startFake({ on: { PASS: () => 'silence' } });
    const client = await connect(fake);
    const failure = failureOf(client.login());
    await fake.received('PASS');
    client.close();
    expect(await failure).toMatchObject({ code: 'upstream_closed', phase: 'login' });
    await fake.idle();
  });

  it.each([['USER'], ['SASL PLAIN'], ['SASL CRAM-MD5']])(
    'on a connection that the server had closed before, with %s on offer, is no wrong password',
    async (capability) => {
      const fake = await startFake({ capabilities: [capability], on: { UTF8: () => 'close' } });
      const client = await connect(fake, askingCapa);
      const end = await failureOf(client.utf8());
      expect(end).toMatchObject({ code: 'upstream_closed', phase: 'capabilities' });
      const failure = await failureOf(client.login());
      expect(failure).toBe(end);
      expect(fake.commands).toEqual(['CAPA', 'UTF8']);
    },
  );
});
