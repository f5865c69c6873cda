import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { listLineBytesMax, statusLineBytesMax } from '../../src/pop3/limits.ts';
import { Pop3CommandError, Pop3ConnectionError, Pop3ProtocolError } from '../../src/pop3/index.ts';
import { cutBody } from '../support/fake-pop3.ts';
import { connect, failureOf, logIn, PASSWORD, readAll, retrieveAll, startFake } from './fake-session.ts';

const MAILS = [
  'Subject: one\r\n\r\n.a dot\r\n..two\r\n',
  'Subject: two\r\n\r\na\n.\n+OK forged\n.\r\nb\r\n',
  'Subject: three\r\n\r\n\0\r\n.\r\n.\r\n',
];

describe('a session', () => {
  it.each([Number.POSITIVE_INFINITY, 1])('goes from greeting to QUIT, in pieces of %d bytes', async (chunkBytes) => {
    const fake = await startFake({ mails: MAILS, chunkBytes });
    const client = await connect(fake);
    expect((await client.capa()).has('UIDL')).toBe(true);
    await client.login();
    expect(await client.stat()).toEqual({ count: 3, bytes: MAILS.join('').length });
    expect([...(await client.list())]).toEqual(MAILS.map((mail, index) => [index + 1, mail.length]));
    expect([...((await client.uidl()) ?? [])]).toEqual([1, 2, 3].map((n) => [n, `uid-${n}`]));
    for (const [index, mail] of MAILS.entries()) expect(String(await retrieveAll(client, index + 1))).toBe(mail);
    await client.delete(2);
    expect(await client.quit()).toBe(true);
    await fake.idle();
    expect(fake.mails.map(({ uidl }) => uidl)).toEqual(['uid-1', 'uid-3']);
    const login = ['CAPA', 'USER u', `PASS ${PASSWORD}`, 'CAPA'];
    const commands = [...login, 'STAT', 'LIST', 'UIDL', 'RETR 1', 'RETR 2', 'RETR 3'];
    expect(fake.commands).toEqual([...commands, 'DELE 2', 'QUIT']);
  });

  it('goes on after a RETR and a DELE that the server refuses', async () => {
    const refuse = (): string => '-ERR no such message';
    const client = await logIn(await startFake({ mails: MAILS, on: { 'RETR 1': refuse, DELE: refuse } }));
    const retrieve = await failureOf(client.retrieve(1));
    expect(retrieve).toBeInstanceOf(Pop3CommandError);
    expect(retrieve).toMatchObject({ code: 'upstream_command_failed', phase: 'retrieve' });
    expect(retrieve.message).toContain('RETR 1 with "-ERR no such message"');
    expect(await failureOf(client.delete(1))).toMatchObject({ code: 'upstream_command_failed', phase: 'delete' });
    expect(String(await retrieveAll(client, 2))).toBe(MAILS[1]);
  });

  it('tells a passing trouble from a lasting one', async () => {
    const client = await logIn(await startFake({ mails: MAILS, on: { RETR: () => '-ERR [SYS/TEMP] disk is away' } }));
    expect(await failureOf(client.retrieve(1))).toMatchObject({ code: 'upstream_unavailable' });
  });

  it('does without CAPA and UIDL, and says which there is not', async () => {
    const unknown = (): string => '-ERR unknown command';
    const client = await connect(await startFake({ on: { CAPA: unknown, UIDL: unknown } }));
    expect((await client.capa()).entries.size).toBe(0);
    await client.login();
    expect(await client.uidl()).toBeNull();
  });

  it('does not take a passing trouble with UIDL for its absence', async () => {
    const client = await logIn(await startFake({ on: { UIDL: () => '-ERR [SYS/TEMP] index is busy' } }));
    expect(await failureOf(client.uidl())).toMatchObject({ code: 'upstream_unavailable', responseCode: 'SYS/TEMP' });
    expect(await client.list()).toEqual(new Map());
  });

  it('keeps the messages of a list that the server garbles, as far as they have a number', async () => {
    const lines = Buffer.from('+OK\r\n1 -5\r\n\r\nrubbish\r\n  2   7 x\r\n3\r\n2 8\r\n.\r\n');
    const client = await logIn(await startFake({ on: { LIST: () => lines } }));
    expect([...(await client.list())]).toEqual([
      [1, null],
      [2, 8],
      [3, null],
    ]);
  });

  it('understands a server that ends its lines with bare LF, and still bares no mail to forgery', async () => {
    const reply = Buffer.from('+OK\nline\n..dot\n.\n');
    const client = await logIn(await startFake({ mails: MAILS, on: { 'RETR 1': () => reply } }));
    expect(String(await retrieveAll(client, 1))).toBe('line\r\n.dot\r\n');
    expect(String(await retrieveAll(client, 2))).toBe(MAILS[1]);
  });

  it('is over when a body is left early: the rest would be read for nothing', async () => {
    const fake = await startFake({ mails: ['x'.repeat(1_000_000)] });
    const client = await logIn(fake);
    for await (const chunk of await client.retrieve(1)) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    await fake.idle();
    const failure = await failureOf(client.stat());
    expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'retrieve' });
    expect(failure.message).toContain('is over');
  });

  it('tells a QUIT that is confirmed from one refused and one without an answer', async () => {
    const refused = await startFake({ on: { QUIT: () => '-ERR some messages were not removed' } });
    expect(await (await logIn(refused)).quit()).toBe(false);
    await refused.idle();
    const closed = await startFake({ on: { QUIT: () => 'close' } });
    expect(await failureOf((await logIn(closed)).quit())).toMatchObject({ code: 'upstream_closed', phase: 'quit' });
    await closed.idle();
  });

  it('can be closed at any time, and twice', async () => {
    const fake = await startFake();
    const client = await logIn(fake);
    client.close();
    client.close();
    await fake.idle();
    expect(await failureOf(client.quit())).toMatchObject({ code: 'upstream_closed' });
    expect(fake.commands).not.toContain('QUIT');
  });
});

describe('a login that fails', () => {
  it('leaks the password nowhere, even if the server echoes it', async () => {
    const echoes = [
      [PASSWORD, `-ERR [AUTH] no, ${PASSWORD} is wrong: ${PASSWORD}`],
      [PASSWORD, `-ERR ${PASSWORD}`],
      ['hunter2', '-ERR [hunter2] no such code'],
    ] as const;
    for (const [password, reply] of echoes) {
      const failure = await failureOf(logIn(await startFake({ on: { PASS: () => reply } }), { password }));
      expect(failure).toBeInstanceOf(Pop3CommandError);
      expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
      expect(failure.message).toContain('[redacted]');
      expect(inspect(failure, { depth: null, showHidden: true }).toLowerCase()).not.toContain('hunter2');
    }
    const rubbish = await failureOf(logIn(await startFake({ on: { PASS: () => `PASS ${PASSWORD}?` } })));
    expect(rubbish).toMatchObject({ code: 'upstream_protocol_error', phase: 'login' });
    expect(inspect(rubbish, { depth: null, showHidden: true })).not.toContain('hunter2');
  });

  it('does not send the password to a server that refuses the user', async () => {
    const fake = await startFake({ on: { USER: () => '-ERR who?' } });
    expect(await failureOf(logIn(fake))).toMatchObject({ code: 'upstream_auth_failed' });
    expect(fake.commands).toEqual(['USER u']);
  });

  it.each([
    ['-ERR [IN-USE] come back', 'upstream_locked'],
    ['-ERR [LOGIN-DELAY] come back', 'upstream_locked'],
    ['-ERR maildrop already locked', 'upstream_locked'],
    ['-ERR [SYS/TEMP] come back', 'upstream_unavailable'],
    ['-ERR [SYS/PERM] never', 'upstream_command_failed'],
    ['-ERR', 'upstream_auth_failed'],
  ])('after %j has the code %s', async (reply, code) => {
    expect(await failureOf(logIn(await startFake({ on: { PASS: () => reply } })))).toMatchObject({
      code,
      phase: 'login',
    });
  });

  it.each([
    ['username', 'u\r\nDELE 1'],
    ['username', 'u\n'],
    ['username', 'u\0'],
    ['password', 'hunter2\rx'],
    ['password', 'hunter2'.repeat(200)],
  ])('for a %s of %j sends neither', async (field, value) => {
    const fake = await startFake();
    const client = await connect(fake, { [field]: value });
    const failure = await failureOf(client.login());
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(inspect(failure)).not.toContain('hunter2');
    await client.capa();
    expect(fake.commands).toEqual(['CAPA']);
  });

  it('sends no password in the clear where the server takes one only under TLS', async () => {
    const fake = await startFake({ capabilities: ['STLS', 'UIDL'] });
    const client = await connect(fake);
    await client.capa();
    expect(await failureOf(client.login())).toMatchObject({ code: 'upstream_tls_failed', phase: 'login' });
    expect(fake.commands).toEqual(['CAPA']);
  });
});

describe('a server that is none', () => {
  it.each([
    ['220 smtp.example.com ESMTP', /speaks SMTP: use the port/],
    ['* OK IMAP4rev1 ready', /speaks IMAP: use the port/],
    ['HTTP/1.1 400 Bad Request', /speaks HTTP: use the POP3 server/],
    ['+ POP2 example.com', /speaks POP2 \(RFC 937\): the server is too old/],
    ['SSH-2.0-OpenSSH_9.2', /speaks SSH: use the port/],
    ['hello \u202e', /greets with "hello \\u\{202e\}"/],
  ])('is told by its greeting %j', async (greeting, text) => {
    const fake = await startFake({ greeting });
    const failure = await failureOf(connect(fake));
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({
      code: 'upstream_not_pop3',
      phase: 'greeting',
      message: expect.stringMatching(text),
    });
    await fake.idle();
  });

  it.each([
    ['-ERR [SYS/TEMP] later', 'upstream_unavailable'],
    ['-ERR go away', 'upstream_unavailable'],
    ['-ERR [IN-USE] later', 'upstream_locked'],
    ['close', 'upstream_closed'],
    [`+OK ${'x'.repeat(statusLineBytesMax)}`, 'upstream_protocol_error'],
  ])('or none just now: %.30s', async (greeting, code) => {
    const fake = await startFake({ greeting });
    expect(await failureOf(connect(fake))).toMatchObject({ code, phase: 'greeting' });
    await fake.idle();
  });
});

describe('a server that breaks the protocol', () => {
  it('by more than was asked for ends the session', async () => {
    const fake = await startFake({ on: { PASS: () => Buffer.from('+OK\r\n+OK unasked\r\n') } });
    const client = await logIn(fake);
    const failure = await failureOf(client.stat());
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'login' });
    expect(failure.message).toContain('out of turn: "+OK unasked"');
    await fake.idle();
  });

  it.each([
    ['an answer that is none', 'rubbish\r\n'],
    ['a line without end', `+OK\r\n1 ${'x'.repeat(listLineBytesMax)}`],
    ['a line too long', `+OK\r\n1 ${'x'.repeat(listLineBytesMax)}\r\n.\r\n`],
  ])('by %s ends the session', async (_, reply) => {
    const fake = await startFake({ on: { UIDL: () => Buffer.from(reply) } });
    const client = await logIn(fake);
    const failure = await failureOf(client.uidl());
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'list' });
    expect(failure.message).toContain(`127.0.0.1:${fake.port}`);
    await fake.idle();
  });

  it('by capabilities without end is not listened to', async () => {
    const fake = await startFake({ capabilities: Array.from({ length: 1000 }, (_, n) => `X-${n}`) });
    const client = await connect(fake);
    expect(await failureOf(client.capa())).toMatchObject({ code: 'upstream_protocol_error' });
  });

  it('by a STAT without numbers ends the session', async () => {
    const fake = await startFake({ on: { STAT: () => '+OK plenty' } });
    expect(await failureOf((await logIn(fake)).stat())).toMatchObject({ code: 'upstream_protocol_error' });
    await fake.idle();
  });
});

describe('a server that goes away', () => {
  it.each(['close', 'reset'] as const)('in the middle of a message (%s) fails that message', async (after) => {
    const mail = Buffer.from('x'.repeat(100_000));
    const fake = await startFake({ mails: [mail], on: { RETR: () => cutBody(mail, 50_000, after) } });
    const client = await logIn(fake);
    const failure = await failureOf(retrieveAll(client, 1));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'retrieve' });
    expect(await failureOf(client.quit())).toBe(failure);
  });

  it('in the middle of a list fails the list', async () => {
    const fake = await startFake({ on: { LIST: () => ({ bytes: Buffer.from('+OK\r\n1 2\r\n2'), after: 'close' }) } });
    expect(await failureOf((await logIn(fake)).list())).toMatchObject({ code: 'upstream_closed', phase: 'list' });
  });

  it('right behind a whole message fails no message, but the next command', async () => {
    const mail = Buffer.from(`${'x'.repeat(100_000)}\r\n`);
    const fake = await startFake({
      mails: [mail],
      on: {
        RETR: () => ({ bytes: Buffer.concat([Buffer.from('+OK\r\n'), mail, Buffer.from('.\r\n')]), after: 'close' }),
      },
    });
    const client = await logIn(fake);
    const body = await client.retrieve(1);
    await fake.idle();
    expect((await readAll(body)).equals(mail)).toBe(true);
    expect(await failureOf(client.delete(1))).toMatchObject({ code: 'upstream_closed' });
  });
});
