/** Every way to log in, as the real servers take and refuse it, and what of it may be seen: nothing. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Pop3Client, Pop3CommandError } from '../../src/pop3/index.ts';
import type { LoginWay, Pop3Settings, TlsMode, WireEntry } from '../../src/pop3/index.ts';
import { makeCertificates } from '../support/certificates.ts';
import { courierAvailable, startCourier } from '../support/courier.ts';
import { dovecotAvailable, startDovecot } from '../support/dovecot.ts';
import type { Dovecot } from '../support/dovecot.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import type { FakePop3 } from '../support/fake-pop3.ts';
import { findSecrets, recordLines, responsesOf, showAll } from '../support/secret-search.ts';
import type { MailServer } from '../support/server-process.ts';

const PASSWORD = 'alices:secret Pässword~canary';
const WRONG_PASSWORD = 'wrong:secret Swördfish~canary';
const WRONG_TOKEN = 'ya29.wrong-secret-canary_0123456789';
const MAIL = Buffer.from('Subject: for alice\r\n\r\nhello\r\n');

/** What the password or the token itself crosses the wire by. */
const HANDING_OVER = ['PLAIN', 'LOGIN', 'user', 'OAUTHBEARER', 'XOAUTH2'] as const;
const PROVING = ['CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'apop'] as const;
const TOKEN_WAYS = ['OAUTHBEARER', 'XOAUTH2'] as const;
const WITH_INITIAL_RESPONSE = ['PLAIN', 'SCRAM-SHA-1', 'SCRAM-SHA-256', ...TOKEN_WAYS] as const;

type Place = Pick<Pop3Settings, 'host' | 'port' | 'tls' | 'ca'>;

interface Attempt {
  readonly client: Pop3Client;
  /** Null for a login that went through. */
  readonly error: Error | null;
  /** The wire log. */
  readonly wire: readonly WireEntry[];
  /** What the client said in it, a line each. */
  readonly said: readonly string[];
  /** What it really sent. */
  readonly sent: readonly string[];
}

function placeOf({ host, port, tlsPort, ca }: MailServer, tls: TlsMode): Place {
  return { host, port: tls === 'implicit' ? tlsPort : port, tls, ca };
}

/** Logs in. Whatever comes of it, the wire log, the error and the client show no secret and no response. */
async function attempt(settings: Pop3Settings, secrets: readonly string[]): Promise<Attempt> {
  const wire: WireEntry[] = [];
  const opened: Pop3Client[] = [];
  let error: Error | null = null;
  const sent = await recordLines(settings.port, async () => {
    const client = await Pop3Client.connect(settings, { onWire: (entry) => wire.push(entry) });
    opened.push(client);
    await client.login().catch((reason: Error) => (error = reason));
  });
  const [client] = opened;
  if (!client) throw new Error('There is no client.');
  const shown = [wire, error, client].map(showAll).join('\n');
  expect(findSecrets(shown, [...secrets, ...responsesOf(sent)])).toEqual([]);
  const said = wire.flatMap((entry) => ('line' in entry && entry.from === 'client' ? [entry.line] : []));
  return { client, error, wire, said, sent };
}

/** What a way to log in begins with. */
function commandOf(way: LoginWay): string {
  return way === 'user' ? 'USER alice' : way === 'apop' ? 'APOP alice [redacted]' : `AUTH ${way}`;
}

describe.skipIf(!dovecotAvailable())('the client with Dovecot (skipped where it is not installed)', () => {
  let dovecot: Dovecot;

  beforeAll(async () => {
    const users = { alice: { password: PASSWORD, mails: [MAIL] }, bob: { password: 'bobs' } };
    dovecot = await startDovecot({ users, sasl: true });
  });

  afterAll(async () => {
    await dovecot?.close();
  });

  /** What alice, or who claims to be her, logs in with. */
  function settingsOf(way: LoginWay, isRight: boolean, tls: TlsMode = 'implicit'): Pop3Settings {
    const place = { ...placeOf(dovecot, tls), username: 'alice', mechanism: way };
    if (way === 'EXTERNAL') {
      const { certificate } = dovecot.credentials(isRight ? 'alice' : 'bob');
      return { ...place, authzid: 'alice', tlsOptions: { ...certificate } };
    }
    if (isTokenWay(way)) {
      return { ...place, accessToken: isRight ? dovecot.credentials('alice').accessToken : WRONG_TOKEN };
    }
    return { ...place, password: isRight ? PASSWORD : WRONG_PASSWORD };
  }

  function secretsOf({ password, accessToken, tlsOptions }: Pop3Settings): string[] {
    return [password, accessToken, tlsOptions?.key].filter((secret) => secret !== undefined);
  }

  async function logIn(settings: Pop3Settings): Promise<Attempt> {
    const made = await attempt(settings, secretsOf(settings));
    expect(made.error).toBeNull();
    expect(made.client.state).toBe('transaction');
    // It is alice's maildrop, not an empty one of somebody else.
    expect(await made.client.stat()).toEqual({ count: 1, bytes: MAIL.length });
    expect(await made.client.quit()).toBe(true);
    return made;
  }

  async function beRefused(settings: Pop3Settings): Promise<Pop3CommandError> {
    const { client, error } = await attempt(settings, secretsOf(settings));
    client.close();
    expect(error).toBeInstanceOf(Pop3CommandError);
    expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    return error as unknown as Pop3CommandError;
  }

  it.each(HANDING_OVER)(
    'logs in by %s over TLS, which hands the secret over, and shows it to nobody else',
    async (way) => {
      const settings = settingsOf(way, true);
      const { said, sent } = await logIn(settings);
      expect(findSecrets(sent.join('\n'), secretsOf(settings))).toHaveLength(1);
      expect(said.find((line) => line.startsWith(commandOf(way)))).toBeDefined();
      expect(said.filter((line) => line.includes('[redacted]')).length).toBeGreaterThan(0);
    },
  );

  it.each(PROVING)('logs in by %s over TLS, and never sends the password', async (way) => {
    const { said, sent } = await logIn(settingsOf(way, true));
    expect(sent.some((line) => line.startsWith(commandOf(way).replace(' [redacted]', '')))).toBe(true);
    expect(responsesOf(sent).length).toBeGreaterThan(0);
    expect(findSecrets(sent.join('\n'), [PASSWORD])).toEqual([]);
    expect(said.find((line) => line.startsWith(commandOf(way)))).toBeDefined();
    expect(said.filter((line) => line.includes('[redacted]')).length).toBeGreaterThan(0);
  });

  it('logs in by EXTERNAL, as who the certificate says, whatever the user name', async () => {
    const { authzid: _unsaid, ...settings } = settingsOf('EXTERNAL', true);
    const { said } = await logIn({ ...settings, username: 'somebody' });
    expect(said).toContain('AUTH EXTERNAL =');
    await logIn(settingsOf('EXTERNAL', true));
  });

  it.each(['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'OAUTHBEARER', 'EXTERNAL'] as const)(
    'logs in by %s behind STLS',
    async (way) => {
      const { said } = await logIn(settingsOf(way, true, 'starttls'));
      expect(said.slice(0, 2)).toEqual(['STLS', 'CAPA']);
      expect(said[2]).toMatch(new RegExp(`^AUTH ${way}( |$)`));
    },
  );

  it.each(WITH_INITIAL_RESPONSE)('logs in by %s in two steps, too', async (way) => {
    const { said } = await logIn({ ...settingsOf(way, true), twoStep: true });
    expect(said.slice(1, 3)).toEqual([`AUTH ${way}`, '[redacted]']);
  });

  it.each(['implicit', 'starttls', 'none'] as const)(
    'takes SCRAM where the choice is its own (tls: %s)',
    async (tls) => {
      const { mechanism: _own, ...settings } = settingsOf('PLAIN', true, tls);
      const { said } = await logIn(settings);
      expect(said.filter((line) => line.startsWith('AUTH'))).toEqual([
        expect.stringMatching(/^AUTH SCRAM-SHA-256(-PLUS)? \[redacted\]$/),
      ]);
    },
  );

  it.each(['implicit', 'starttls'] as const)('takes OAUTHBEARER for a token (tls: %s)', async (tls) => {
    const { mechanism: _own, ...settings } = settingsOf('XOAUTH2', true, tls);
    const { said } = await logIn(settings);
    expect(said.filter((line) => line.startsWith('AUTH'))).toEqual(['AUTH OAUTHBEARER [redacted]']);
  });

  it('sends no token in the clear where the choice is its own', async () => {
    const { mechanism: _own, ...settings } = settingsOf('OAUTHBEARER', true, 'none');
    const { client, error, sent } = await attempt(settings, secretsOf(settings));
    client.close();
    expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(sent).toEqual(['CAPA']);
  });

  it.each(['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS'] as const)(
    'binds %s to the connection where Dovecot offers it, as 2.4 does; 2.3 does not, and is sent nothing',
    async (way) => {
      const { client, error, sent } = await attempt(settingsOf(way, true), [PASSWORD]);
      const { sasl } = client.capabilities;
      client.close();
      if (sasl.includes(way)) {
        expect(error).toBeNull();
        return;
      }
      expect(error).toMatchObject({ code: 'upstream_auth_failed', fields: { offered: [...sasl, 'user'] } });
      expect(sent).toEqual(['CAPA']);
    },
  );

  it.each(['PLAIN', 'LOGIN', 'user', ...PROVING] as const)('is refused a wrong password by %s', async (way) => {
    const error = await beRefused(settingsOf(way, false));
    expect(error.responseCode).toBe('AUTH');
  });

  it('shows neither of two tries where SCRAM is refused and PLAIN after it', async () => {
    const { mechanism: _own, ...settings } = settingsOf('PLAIN', false);
    const { client, error, said } = await attempt(settings, [WRONG_PASSWORD]);
    client.close();
    expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(said.filter((line) => line.startsWith('AUTH'))).toEqual([
      expect.stringMatching(/^AUTH SCRAM-/),
      'AUTH PLAIN [redacted]',
    ]);
  });

  it.each(TOKEN_WAYS)('is refused a wrong token by %s, and told why', async (way) => {
    const error = await beRefused(settingsOf(way, false));
    expect(error.fields).toMatchObject({ status: expect.stringMatching(/^(?:invalid_token|401)$/) });
    expect(error.message).toContain(`status "${String(error.fields['status'])}"`);
  });

  it.each(TOKEN_WAYS)("is refused another's token by %s", async (way) => {
    const { accessToken } = dovecot.credentials('bob');
    await beRefused({ ...settingsOf(way, false), accessToken });
  });

  it.each(TOKEN_WAYS)('sends a token of 3,000 characters in a line of its own by %s', async (way) => {
    const settings = { ...settingsOf(way, false), accessToken: WRONG_TOKEN.padEnd(3_000, 'x') };
    const { client, error, said, sent } = await attempt(settings, [WRONG_TOKEN]);
    client.close();
    expect(said.slice(1, 3)).toEqual([`AUTH ${way}`, '[redacted]']);
    expect(sent[2]?.length).toBeGreaterThan(4_000);
    // It was read whole: the answer is about the token.
    expect(error).toMatchObject({ code: 'upstream_auth_failed', fields: { status: expect.any(String) } });
  });

  it("is refused EXTERNAL with another's certificate, and without one", async () => {
    await beRefused(settingsOf('EXTERNAL', false));
    const { tlsOptions: _none, ...bare } = settingsOf('EXTERNAL', true);
    await beRefused(bare);
  });

  it('is in authorization still after a refusal, and the connection goes on', async () => {
    const wrong = settingsOf('PLAIN', false);
    const { client } = await attempt(wrong, secretsOf(wrong));
    expect(client.state).toBe('authorization');
    expect((await client.capa()).sasl).toContain('PLAIN');
    client.close();
  });
});

describe('the client with a server that says every line of a login back', () => {
  it.each(['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-256', 'user', 'apop', ...TOKEN_WAYS] as const)(
    'shows no secret and no response in its log or its error, by %s',
    async (way) => {
      const certificates = await makeCertificates();
      onTestFinished(() => certificates.remove());
      const fake: FakePop3 = await startFakePop3({
        greeting: '+OK <1896.697170952@example.org>',
        capabilities: ['USER', 'SASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 OAUTHBEARER XOAUTH2'],
        tls: certificates.server,
        implicitTls: true,
        on: { '*': () => echo(fake.commands.at(-1) ?? '') },
      });
      onTestFinished(() => fake.close());
      const secret = isTokenWay(way) ? { accessToken: WRONG_TOKEN } : { password: WRONG_PASSWORD };
      const { host, port } = fake;
      const settings = { host, port, tls: 'implicit', ca: certificates.ca, username: 'alice', mechanism: way } as const;
      const { client, error, sent, wire } = await attempt({ ...settings, ...secret }, [WRONG_PASSWORD, WRONG_TOKEN]);
      client.close();
      expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
      expect(error?.message).toContain('no: ');
      expect(sent).toEqual(fake.commands);
      expect(showAll(wire)).toContain('-ERR [AUTH] no: ');
    },
  );

  function echo(line: string): string | undefined {
    if (/^(?:CAPA|USER .*)$/.test(line)) return undefined;
    // CRAM-MD5 wants a challenge; LOGIN asks for the password behind the name.
    if (/^AUTH (?:LOGIN|CRAM-MD5)$/.test(line)) return `+ ${Buffer.from('<1896@example.org>').toString('base64')}`;
    if (line === Buffer.from('alice').toString('base64')) return '+ ';
    // As it is, and where that holds the secret itself, decoded, too.
    const decoded = Buffer.from(line.split(' ').at(-1) ?? '', 'base64').toString();
    const isSecret = decoded.includes(WRONG_PASSWORD) || decoded.includes(WRONG_TOKEN);
    return `-ERR [AUTH] no: ${line} ${isSecret ? decoded : ''}`;
  }

  it.each(TOKEN_WAYS)('nor what its challenge says of the token, by %s', async (way) => {
    const fake: FakePop3 = await startFakePop3({
      capabilities: [`SASL ${way}`],
      on: {
        AUTH(response) {
          const reason = { status: `never heard of ${WRONG_TOKEN}`, scope: response.split(' ').at(-1) };
          return `+ ${Buffer.from(JSON.stringify(reason)).toString('base64')}`;
        },
        '*': () => (fake.commands.at(-1) === 'CAPA' ? undefined : '-ERR [AUTH] no'),
      },
    });
    onTestFinished(() => fake.close());
    const { host, port } = fake;
    const settings = { host, port, tls: 'none', username: 'alice', mechanism: way, accessToken: WRONG_TOKEN } as const;
    const { client, error } = await attempt(settings, [WRONG_TOKEN]);
    client.close();
    expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
    expect(error?.message).toContain('never heard of [redacted]');
  });
});

describe.skipIf(!courierAvailable())('the client with Courier (skipped where it is not unpacked)', () => {
  const WAYS = ['PLAIN', 'LOGIN', 'CRAM-MD5', 'user'] as const;
  let courier: MailServer;

  beforeAll(async () => {
    courier = await startCourier({ users: { alice: { password: PASSWORD, mails: [MAIL] } } });
  });

  afterAll(async () => {
    await courier?.close();
  });

  it.each(WAYS.flatMap((way) => (['implicit', 'starttls'] as const).map((tls) => [way, tls] as const)))(
    'logs in by %s, and shows the password to nobody else (tls: %s)',
    async (way, tls) => {
      const settings = { ...placeOf(courier, tls), username: 'alice', password: PASSWORD, mechanism: way };
      const { client, error, said, sent } = await attempt(settings, [PASSWORD]);
      expect(error).toBeNull();
      expect(client.capabilities.sasl).toEqual(['PLAIN', 'LOGIN', 'CRAM-MD5']);
      expect(await client.stat()).toEqual({ count: 1, bytes: MAIL.length });
      expect(await client.quit()).toBe(true);
      expect(said.find((line) => line.startsWith(commandOf(way)))).toBeDefined();
      expect(responsesOf(sent).length).toBeGreaterThan(0);
    },
  );

  it('takes CRAM-MD5 where the choice is its own', async () => {
    const { client, error, said } = await attempt(
      { ...placeOf(courier, 'implicit'), username: 'alice', password: PASSWORD },
      [PASSWORD],
    );
    expect(error).toBeNull();
    expect(said.filter((line) => line.startsWith('AUTH'))).toEqual(['AUTH CRAM-MD5']);
    expect(await client.quit()).toBe(true);
  });

  it('does not send OAUTHBEARER or SCRAM to it, which it does not offer', async () => {
    const place = { ...placeOf(courier, 'implicit'), username: 'alice' };
    for (const settings of [
      { ...place, password: PASSWORD, mechanism: 'SCRAM-SHA-256' as const },
      { ...place, accessToken: WRONG_TOKEN, mechanism: 'OAUTHBEARER' as const },
      { ...place, accessToken: WRONG_TOKEN },
    ]) {
      const { client, error, sent } = await attempt(settings, [PASSWORD, WRONG_TOKEN]);
      client.close();
      expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
      expect(sent.filter((line) => line !== 'UTF8')).toEqual(['CAPA']);
    }
  });

  // It waits five seconds before each refusal.
  it.each(WAYS)('is refused a wrong password by %s', async (way) => {
    const place = { ...placeOf(courier, 'implicit'), username: 'alice', mechanism: way };
    const { client, error } = await attempt({ ...place, password: WRONG_PASSWORD }, [WRONG_PASSWORD]);
    client.close();
    expect(error).toBeInstanceOf(Pop3CommandError);
    expect(error).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
  });
});

function isTokenWay(way: LoginWay): boolean {
  return (TOKEN_WAYS as readonly string[]).includes(way);
}
