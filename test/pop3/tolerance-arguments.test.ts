/** What the caller may not say: arguments that no line can carry, and commands that the session's state does not allow. */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Pop3CommandError, Pop3ConnectionError, type Pop3Client } from '../../src/pop3/index.ts';
import { connect, failureOf, logIn, startFake } from './fake-session.ts';

type Ask = (client: Pop3Client) => Promise<unknown>;

const next = (iterator: AsyncIterator<unknown>): Promise<unknown> => iterator.next();

const TRANSACTION: Readonly<Record<string, Ask>> = {
  STAT: (client) => client.stat(),
  LIST: (client) => client.list(),
  'LIST, streamed': (client) => next(client.streamList()),
  'LIST of one': (client) => client.listOne(1),
  'LIST of each': (client) => next(client.listEach([1])),
  UIDL: (client) => client.uidl(),
  'UIDL, streamed': (client) => next(client.streamUidl()),
  'UIDL of one': (client) => client.uidlOne(1),
  'UIDL of each': (client) => next(client.uidlEach([1])),
  RETR: (client) => client.retrieve(1),
  'RETR of many': async (client) => next(client.retrieveAll([{ number: 1, bytes: 1 }])),
  TOP: (client) => client.top(1, 0),
  'TOP of many': async (client) => next(client.topAll([{ number: 1, bytes: 1 }], 0)),
  DELE: (client) => client.delete(1),
  'DELE of many': (client) => client.deleteAll([1]),
  RSET: (client) => client.reset(),
  NOOP: (client) => client.noop(),
};

const AUTHORIZATION: Readonly<Record<string, Ask>> = {
  'the login': (client) => client.login(),
  UTF8: (client) => client.utf8(),
};

const ANY_STATE: Readonly<Record<string, Ask>> = {
  CAPA: (client) => client.capa(),
  LANG: (client) => client.languages(),
  'LANG with a tag': (client) => client.useLanguage('en'),
  QUIT: (client) => client.quit(),
};

describe('a command in the wrong state is refused before a byte is sent:', () => {
  it.each(Object.entries(TRANSACTION))('%s before the login', async (_, ask) => {
    const fake = await startFake({ mails: ['a\r\n'] });
    const client = await connect(fake);
    const failure = await failureOf(ask(client));
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_command_failed' });
    expect(failure.message).toContain('call login first');
    expect(client.state).toBe('authorization');
    await client.login();
    expect(fake.commands.map((line) => line.split(' ')[0])).toEqual(['USER', 'PASS']);
  });

  it.each(Object.entries(AUTHORIZATION))('%s after the login', async (_, ask) => {
    const fake = await startFake();
    const client = await logIn(fake);
    const failure = await failureOf(ask(client));
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_command_failed' });
    await client.noop();
    expect(fake.commands.map((line) => line.split(' ')[0])).toEqual(['USER', 'PASS', 'NOOP']);
  });

  it.each(Object.entries({ ...AUTHORIZATION, ...TRANSACTION, ...ANY_STATE }))(
    '%s after the end, with the error that ended the session',
    async (_, ask) => {
      const fake = await startFake({ on: { STAT: () => 'close' } });
      const client = await logIn(fake);
      const end = await failureOf(client.stat());
      const count = fake.commands.length;
      expect(end).toBeInstanceOf(Pop3ConnectionError);
      expect(end).toMatchObject({ code: 'upstream_closed', phase: 'list' });
      expect(client.state).toBe('closed');
      expect(await failureOf(ask(client))).toBe(end);
      expect(fake.commands.length).toBe(count);
    },
  );

  it.each(Object.entries(TRANSACTION))('%s after QUIT', async (_, ask) => {
    const fake = await startFake();
    const client = await logIn(fake);
    await client.quit();
    await fake.idle();
    expect(await failureOf(ask(client))).toMatchObject({ code: 'upstream_closed' });
    expect(fake.commands.at(-1)).toBe('QUIT');
  });
});

describe('an argument that no line can carry is refused before a byte is sent:', () => {
  const smuggled = ['x\r\nDELE 1', 'x\rDELE 1', 'x\nDELE 1', 'x\0'];

  // The others by USER and PASS are tried in client.test.ts.
  it.each([
    ['username', 'USER', 'x\rDELE 1'],
    ['password', 'USER', 'x\r\nDELE 1'],
    ['password', 'USER', 'x\nDELE 1'],
    ['password', 'USER', 'x\0'],
    ['username', 'SASL PLAIN', 'x\0y'],
    ['password', 'SASL PLAIN', 'x\0y'],
    ['authzid', 'SASL PLAIN', 'x\0y'],
  ])('a %s, with %s on offer: %j', async (field, capability, value) => {
    const fake = await startFake({ capabilities: [capability] });
    const client = await connect(fake, { skipCapa: false, [field]: value });
    const failure = await failureOf(client.login());
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(inspect(failure)).not.toContain('DELE');
    expect(fake.commands).toEqual(['CAPA']);
  });

  it('and what base64 carries of a CR or LF is no line of its own', async () => {
    const on = { AUTH: (_: string, session: { logIn(): void }) => (session.logIn(), '+OK') };
    const fake = await startFake({ capabilities: ['SASL PLAIN'], on });
    await logIn(fake, { skipCapa: false, username: 'x\r\nDELE 1', password: 'y\r\nDELE 2\r\n' });
    expect(fake.commands).toEqual(['CAPA', expect.stringMatching(/^AUTH PLAIN [\w+/=]+$/), 'CAPA']);
  });

  it.each(
    (['XOAUTH2', 'OAUTHBEARER'] as const).flatMap((mechanism) =>
      [...smuggled, 'x y', ''].map((token) => [mechanism, token] as const),
    ),
  )('an access token, by %s: %j', async (mechanism, accessToken) => {
    const fake = await startFake({ capabilities: [`SASL ${mechanism}`] });
    const client = await connect(fake, { skipCapa: false, mechanism, accessToken });
    const failure = await failureOf(client.login());
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(fake.commands).toEqual(['CAPA']);
  });

  it.each(['en\r\nDELE 1', 'en\n', 'en\0', '', 'en us', '\r', 'en--us', '-', 'ü', '*\n'])(
    'a language tag: %j',
    async (tag) => {
      const fake = await startFake();
      const client = await logIn(fake);
      const failure = await failureOf(client.useLanguage(tag));
      expect(failure).toBeInstanceOf(Pop3CommandError);
      expect(failure).toMatchObject({ code: 'upstream_command_failed' });
      expect(failure.message).not.toMatch(/\p{Cc}/u);
      await client.noop();
      expect(fake.commands.at(-2)).toMatch(/^PASS/);
    },
  );

  it.each([Number.NaN, -1, 0, 1.5, Number.POSITIVE_INFINITY, 2 ** 53])('a message number: %d', async (number) => {
    const fake = await startFake({ mails: ['a\r\n'] });
    const client = await logIn(fake);
    for (const ask of [
      () => client.retrieve(number),
      () => client.top(number, 0),
      () => client.delete(number),
      () => client.listOne(number),
      () => client.uidlOne(number),
    ]) {
      const failure = await failureOf(ask());
      expect(failure).toBeInstanceOf(Pop3CommandError);
      expect(failure).toMatchObject({ code: 'upstream_command_failed' });
    }
    await client.noop();
    expect(fake.commands.at(-2)).toMatch(/^PASS/);
  });

  it.each([Number.NaN, -1, 0.5])('a number of lines: %d', async (lines) => {
    const fake = await startFake({ mails: ['a\r\n'] });
    const client = await logIn(fake);
    expect(await failureOf(client.top(1, lines))).toBeInstanceOf(Pop3CommandError);
    await client.noop();
    expect(fake.commands.at(-2)).toMatch(/^PASS/);
  });

  it.each([Number.NaN, -1, 0, 1.5])('a message number among many: %d', async (number) => {
    const asks: Ask[] = [
      async (client) => next(client.retrieveAll([{ number, bytes: 1 }])),
      async (client) => next(client.topAll([{ number, bytes: 1 }], 0)),
      (client) => next(client.listEach([number])),
      (client) => next(client.uidlEach([number])),
      (client) => client.deleteAll([number]),
    ];
    for (const ask of asks) {
      const fake = await startFake({ mails: ['a\r\n'] });
      const failure = await failureOf(ask(await logIn(fake)));
      expect(failure).toBeInstanceOf(Pop3CommandError);
      expect(failure).toMatchObject({ code: 'upstream_command_failed' });
      expect(fake.commands.at(-1)).toMatch(/^PASS/);
    }
  });
});
