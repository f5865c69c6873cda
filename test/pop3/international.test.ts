/** UTF-8 in headers, and the language of the server's texts (RFC 6856): asked for where offered, and by real servers borne out. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pop3Client, Pop3CommandError } from '../../src/pop3/index.ts';
import type { Pop3Settings, WireEntry } from '../../src/pop3/index.ts';
import { courierAvailable, startCourier } from '../support/courier.ts';
import { dovecotAvailable, startDovecot } from '../support/dovecot.ts';
import { inSession } from '../support/pop3-sessions.ts';
import type { MailServer } from '../support/server-process.ts';
import { connect, failureOf, logIn, PASSWORD, readAll, retrieveAll, startFake } from './fake-session.ts';

const LOGIN = ['USER u', `PASS ${PASSWORD}`, 'CAPA'];
const MAIL = Buffer.from('From: Jörg <jörg@bücher.example>\r\nSubject: grüße\r\n\r\nbödy\r\n');
const OTHER = Buffer.from('Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nbödy\r\n');

describe('UTF8', () => {
  it.each(['UTF8', 'UTF8 USER', 'utf8 user'])('is asked for before the login where CAPA says %j', async (line) => {
    const fake = await startFake({ capabilities: ['USER', line], on: { UTF8: () => '+OK UTF8 enabled' } });
    await logIn(fake, { skipCapa: false });
    expect(fake.commands).toEqual(['CAPA', 'UTF8', ...LOGIN]);
  });

  it('is not asked for where the settings say so', async () => {
    const fake = await startFake({ capabilities: ['USER', 'UTF8'] });
    await logIn(fake, { skipCapa: false, utf8: false });
    expect(fake.commands).toEqual(['CAPA', ...LOGIN]);
  });

  it.each([true, undefined])('is not asked for where it is not offered, even with utf8: %s', async (utf8) => {
    const fake = await startFake({ capabilities: ['USER', 'UTF8-NOT', 'X UTF8'] });
    await logIn(fake, { skipCapa: false, ...(utf8 !== undefined && { utf8 }) });
    expect(fake.commands).toEqual(['CAPA', ...LOGIN]);
  });

  it('that is refused does not end the login', async () => {
    const fake = await startFake({
      capabilities: ['USER', 'UTF8'],
      mails: [OTHER],
      on: { UTF8: () => '-ERR not now' },
    });
    const client = await logIn(fake, { skipCapa: false });
    expect(fake.commands).toEqual(['CAPA', 'UTF8', ...LOGIN]);
    expect((await retrieveAll(client, 1)).equals(OTHER)).toBe(true);
  });

  it('can be asked for by itself, is told when it is refused, and is not sent after the login', async () => {
    const answers = ['+OK UTF8 enabled', '-ERR [UTF8] no'];
    const fake = await startFake({ on: { UTF8: () => answers.shift() } });
    const client = await connect(fake);
    await client.utf8();
    const refused = await failureOf(client.utf8());
    expect(refused).toBeInstanceOf(Pop3CommandError);
    expect(refused).toMatchObject({ code: 'upstream_command_failed', phase: 'capabilities', responseCode: 'UTF8' });
    expect(client.state).toBe('authorization');
    await client.login();
    expect(await failureOf(client.utf8())).toBeInstanceOf(Pop3CommandError);
    expect(fake.commands).toEqual(['UTF8', 'UTF8', ...LOGIN.slice(0, 2)]);
  });

  it('that a mail would need is told by its response code, and the session goes on', async () => {
    const fake = await startFake({
      capabilities: ['USER', 'PIPELINING', 'RESP-CODES'],
      mails: [MAIL, OTHER],
      on: {
        'RETR 1': () => '-ERR [UTF8] this mail has UTF-8 headers',
        'TOP 1 0': () => '-ERR [utf8] this one, too',
      },
    });
    const client = await logIn(fake, { skipCapa: false });
    for (const ask of [() => client.retrieve(1), () => client.top(1, 0)]) {
      const failure = await failureOf(ask());
      expect(failure).toBeInstanceOf(Pop3CommandError);
      expect(failure).toMatchObject({ code: 'upstream_command_failed', phase: 'retrieve', responseCode: 'UTF8' });
      expect(failure.message).toContain('did not ask for');
    }
    const codes: unknown[] = [];
    for await (const { body, error } of client.retrieveAll([1, 2].map((number) => ({ number, bytes: null })))) {
      codes.push(body ? String(await readAll(body)) : error.responseCode);
    }
    expect(codes).toEqual(['UTF8', String(OTHER)]);
  });
});

describe('LANG', () => {
  const LIST = [
    '+OK Language listing follows:',
    'en English',
    'es-MX  Español de México ',
    'zh-Hant-TW\t繁體中文',
    'i-default',
    '',
    '.',
    '',
  ];

  it('lists the languages, before the login and after it', async () => {
    const expected = [
      { tag: 'en', description: 'English' },
      { tag: 'es-MX', description: expect.stringMatching(/^Español de México ?$/) as unknown },
      { tag: 'zh-Hant-TW', description: '繁體中文' },
      { tag: 'i-default', description: '' },
    ];
    const fake = await startFake({ on: { LANG: () => Buffer.from(LIST.join('\r\n')) } });
    const client = await connect(fake);
    expect(await client.languages()).toEqual(expected);
    await client.login();
    expect(await client.languages()).toEqual(expected);
    expect(fake.commands.filter((line) => line.startsWith('LANG'))).toEqual(['LANG', 'LANG']);
  });

  it('tells of a server that has none', async () => {
    const none = await connect(await startFake({ on: { LANG: () => Buffer.from('+OK\r\n.\r\n') } }));
    expect(await none.languages()).toEqual([]);
    const unknown = await connect(await startFake({ on: { LANG: () => '-ERR unknown command' } }));
    const failure = await failureOf(unknown.languages());
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_command_failed', phase: 'capabilities' });
    await unknown.login();
    expect(unknown.state).toBe('transaction');
  });

  it('does not list languages without end', async () => {
    const endless = Buffer.from(`+OK\r\n${'en English\r\n'.repeat(1_000)}.\r\n`);
    const fake = await startFake({ on: { LANG: () => endless } });
    expect(await failureOf((await connect(fake)).languages())).toMatchObject({ code: 'upstream_protocol_error' });
    await fake.idle();
  });

  it.each(['en', 'es-MX', 'zh-Hant-TW', 'x-private-8chars88', '*'])('sends the tag %s', async (tag) => {
    const fake = await startFake({ on: { LANG: () => '+OK es Idioma cambiado' } });
    const client = await connect(fake);
    await client.useLanguage(tag);
    expect(fake.commands).toEqual([`LANG ${tag}`]);
  });

  it('that the server has no texts for is told, and the session goes on', async () => {
    const fake = await startFake({ on: { LANG: () => '-ERR [UTF8] Idioma no disponible: español' } });
    const client = await logIn(fake);
    const failure = await failureOf(client.useLanguage('uga'));
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_command_failed', phase: 'capabilities' });
    expect(failure.message).toContain('Idioma no disponible: español');
    expect((await client.stat()).count).toBe(0);
  });

  it.each([
    ['nothing', ''],
    ['a blank', ' '],
    ['two words', 'en us'],
    ['an underscore', 'en_US'],
    ['a hyphen at the end', 'en-'],
    ['a hyphen at the start', '-en'],
    ['two hyphens', 'en--us'],
    ['two stars', '**'],
    ['a star and more', '*-en'],
    ['nine letters', 'ninechars'],
    ['a letter that is not ASCII', 'español'],
    ['another command', 'en\r\nDELE 1'],
    ['a line feed', 'en\n'],
    ['a NUL', 'en\0'],
    ['more parts than a line holds', `en${'-abcdefgh'.repeat(200)}`],
    ['no end', 'x'.repeat(100_000)],
  ])('with a tag that is none is refused before a byte is sent: %s', async (_, tag) => {
    const fake = await startFake();
    const client = await connect(fake);
    const failure = await failureOf(client.useLanguage(tag));
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_command_failed', phase: 'capabilities' });
    expect(failure.message.length).toBeLessThan(200);
    await client.login();
    expect(fake.commands).toEqual(LOGIN.slice(0, 2));
  });
});

describe.skipIf(!courierAvailable())('with Courier (skipped where it is not unpacked)', () => {
  let courier: MailServer;
  const settings = (username: string, more: Partial<Pop3Settings> = {}): Pop3Settings => {
    const { host, tlsPort, ca } = courier;
    return { host, port: tlsPort, tls: 'implicit', ca, username, password: PASSWORD, ...more };
  };

  beforeAll(async () => {
    const account = { password: PASSWORD, mails: [MAIL, OTHER] };
    courier = await startCourier({ users: { u1: account, jörg: account } });
  });

  afterAll(async () => {
    await courier?.close();
  });

  it('mail with UTF-8 headers comes byte for byte, as UTF8 was asked for', async () => {
    const { said, onWire } = listen();
    const work = async (client: Pop3Client): Promise<void> => {
      expect(client.capabilities.utf8).toEqual({ user: true });
      expect(client.capabilities.lang).toBe(false);
      expect((await client.listOne(1)).bytes).toBe(MAIL.length);
      expect((await retrieveAll(client, 1)).equals(MAIL)).toBe(true);
      expect((await retrieveAll(client, 2)).equals(OTHER)).toBe(true);
    };
    await inSession(settings('u1'), work, { onWire });
    expect(said.slice(0, 3)).toEqual(['CAPA', 'UTF8', 'AUTH CRAM-MD5']);
  });

  it('without it a stand-in comes for such a mail, which has it as an attachment; the others come as they are', async () => {
    const { said, onWire } = listen();
    const work = async (client: Pop3Client): Promise<void> => {
      const got = String(await retrieveAll(client, 1));
      expect(got).toContain('Subject: Cannot display Unicode content');
      expect(got).toContain(`Content-Type: message/global\r\n\r\n${String(MAIL)}`);
      expect((await retrieveAll(client, 2)).equals(OTHER)).toBe(true);
    };
    await inSession(settings('u1', { utf8: false }), work, { onWire });
    expect(said).not.toContain('UTF8');
  });

  it.each(['PLAIN', 'LOGIN', 'CRAM-MD5', 'user'] as const)('takes a user name in UTF-8 by %s', async (mechanism) =>
    inSession(settings('jörg', { mechanism }), async (client) => {
      expect((await client.stat()).count).toBe(2);
    }),
  );

  it('takes UTF8 by itself, knows no LANG, and the session goes on', async () => {
    const client = await Pop3Client.connect(settings('u1', { skipCapa: true, mechanism: 'user' }));
    await client.utf8();
    expect(await failureOf(client.languages())).toBeInstanceOf(Pop3CommandError);
    expect(await failureOf(client.useLanguage('de'))).toBeInstanceOf(Pop3CommandError);
    await client.login();
    expect((await retrieveAll(client, 1)).equals(MAIL)).toBe(true);
    expect(await client.quit()).toBe(true);
  });
});

describe.skipIf(!dovecotAvailable())('with Dovecot (skipped where it is not installed)', () => {
  let dovecot: MailServer;

  beforeAll(async () => {
    dovecot = await startDovecot({ users: { u: { password: PASSWORD, mails: [MAIL, OTHER] } } });
  });

  afterAll(async () => {
    await dovecot?.close();
  });

  it('mail with UTF-8 headers comes byte for byte though it knows neither UTF8 nor LANG, and a refusal of either ends nothing', async () => {
    const { host, tlsPort: port, ca } = dovecot;
    const { said, onWire } = listen();
    const settings = { host, port, tls: 'implicit', ca, username: 'u', password: PASSWORD } as const;
    const client = await Pop3Client.connect(settings, { onWire });
    expect([client.capabilities.utf8, client.capabilities.lang]).toEqual([null, false]);
    expect(await failureOf(client.utf8())).toBeInstanceOf(Pop3CommandError);
    expect(await failureOf(client.languages())).toBeInstanceOf(Pop3CommandError);
    await client.login();
    expect(await failureOf(client.useLanguage('*'))).toBeInstanceOf(Pop3CommandError);
    expect((await retrieveAll(client, 1)).equals(MAIL)).toBe(true);
    expect((await retrieveAll(client, 2)).equals(OTHER)).toBe(true);
    expect(await client.quit()).toBe(true);
    expect(said.filter((line) => line === 'UTF8')).toHaveLength(1); // By this test, not by the login.
  });
});

/** What the client says from here on. */
function listen(): { said: string[]; onWire: (entry: WireEntry) => void } {
  const said: string[] = [];
  return { said, onWire: (entry) => void (entry.from === 'client' && said.push(entry.line)) };
}
