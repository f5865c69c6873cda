import { describe, expect, it } from 'vitest';
import { Pop3CommandError } from '../../../src/pop3/index.ts';
import { parseCapabilities } from '../../../src/pop3/capabilities.ts';
import { parseStatusLine } from '../../../src/pop3/replies.ts';
import {
  isLoginWay,
  LOGIN_WAYS,
  nextWay,
  readOffer,
  selectLoginWays,
  type Credentials,
  type LoginAttempt,
  type LoginOffer,
  type LoginWay,
} from '../../../src/pop3/sasl/index.ts';
import { offeredMechanismsMax } from '../../../src/pop3/sasl/limits.ts';

const PASSWORD: Credentials = { kind: 'password', username: 'u', password: 'p' };
const FOR_ANOTHER: Credentials = { ...PASSWORD, authzid: 'other' };
const TOKEN: Credentials = { kind: 'token', username: 'u', accessToken: 't' };
const EXTERNAL: Credentials = { kind: 'external' };
const ALL = [
  'XOAUTH2',
  'PLAIN',
  'LOGIN',
  'EXTERNAL',
  'CRAM-MD5',
  'DIGEST-MD5',
  'SCRAM-SHA-1',
  'SCRAM-SHA-1-PLUS',
  'SCRAM-SHA-256',
  'SCRAM-SHA-256-PLUS',
  'OAUTHBEARER',
  'GSSAPI',
];

const offer = (sasl: readonly string[], user: boolean): LoginOffer => ({ sasl, user });
const base = { place: 'mail.example:995', tls: true, canBind: true, apopChallenge: '<1.2@mail.example>' };

describe('the ways to try are in order', () => {
  it.each([
    [
      'with a password, everything offered',
      { credentials: PASSWORD, offered: offer(ALL, true) },
      'SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN user apop',
    ],
    [
      'without channel binding',
      { credentials: PASSWORD, offered: offer(ALL, true), canBind: false, apopChallenge: null },
      'SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN user',
    ],
    [
      'without TLS: what hands the password over is last, and APOP is out',
      { credentials: PASSWORD, offered: offer(['LOGIN', 'PLAIN', 'CRAM-MD5'], true), tls: false, canBind: false },
      'CRAM-MD5 PLAIN LOGIN user',
    ],
    ['as Gmail offers', { credentials: PASSWORD, offered: offer(['PLAIN', 'XOAUTH2'], true) }, 'PLAIN user apop'],
    ['without CAPA', { credentials: PASSWORD, offered: null }, 'user apop'],
    [
      'without CAPA, TLS and timestamp',
      { credentials: PASSWORD, offered: null, tls: false, apopChallenge: null },
      'user',
    ],
    ['where CAPA is silent on logins', { credentials: PASSWORD, offered: offer([], false) }, 'user apop'],
    ['where USER is left out beside SASL', { credentials: PASSWORD, offered: offer(['PLAIN'], false) }, 'PLAIN apop'],
    [
      'for the maildrop of another: nothing that would open our own',
      { credentials: FOR_ANOTHER, offered: offer(ALL, true), canBind: false },
      'SCRAM-SHA-256 SCRAM-SHA-1 PLAIN',
    ],
    ['with a token', { credentials: TOKEN, offered: offer(ALL, true) }, 'OAUTHBEARER XOAUTH2'],
    ['with a token, at Exchange', { credentials: TOKEN, offered: offer(['PLAIN', 'XOAUTH2'], true) }, 'XOAUTH2'],
    ['with a token, without CAPA', { credentials: TOKEN, offered: null }, 'OAUTHBEARER XOAUTH2'],
    ['with a client certificate', { credentials: EXTERNAL, offered: offer(ALL, true) }, 'EXTERNAL'],
    ['with a client certificate, without CAPA', { credentials: EXTERNAL, offered: null }, 'EXTERNAL'],
  ])('%s', (_, options, ways) => {
    expect(selectLoginWays({ ...base, ...options }).join(' ')).toBe(ways);
  });

  it('whatever is offered: a password is handed over only after all that only proves it, APOP never comes first', () => {
    for (let bits = 0; bits < 2 ** ALL.length; bits += 1) {
      const sasl = ALL.filter((_, at) => (bits >> at) & 1);
      const options = { ...base, credentials: PASSWORD, offered: offer(sasl, true) };
      const ways = selectLoginWays(options);
      const proofs = ways.map((way) => way.startsWith('SCRAM') || way === 'CRAM-MD5');
      expect(proofs.lastIndexOf(true)).toBeLessThan(proofs.indexOf(false));
      expect(ways[0]).not.toBe('apop');
    }
  });
});

describe('there is no way', () => {
  it.each([
    [
      'with a token, at a server that takes none',
      { credentials: TOKEN, offered: offer(['PLAIN'], true) },
      /it offers PLAIN, user\.$/,
    ],
    ['with a token in the clear', { credentials: TOKEN, offered: offer(ALL, true), tls: false }, /set tls to/],
    ['with a client certificate', { credentials: EXTERNAL, offered: offer([], true) }, /it offers user\.$/],
    [
      'with a password, at a server that takes tokens',
      { credentials: PASSWORD, offered: offer(['XOAUTH2'], false), apopChallenge: null },
      /it offers XOAUTH2/,
    ],
    ['for another without CAPA', { credentials: FOR_ANOTHER, offered: null }, /does not know CAPA/],
  ])('%s', (_, options, message) => {
    expect(() => selectLoginWays({ ...base, ...options })).toThrow(Pop3CommandError);
    expect(() => selectLoginWays({ ...base, ...options })).toThrow(message);
  });
});

describe('an override', () => {
  it.each<[LoginWay, Credentials, LoginOffer | null]>([
    ['PLAIN', PASSWORD, offer(ALL, true)],
    ['user', PASSWORD, offer(ALL, true)],
    ['apop', PASSWORD, offer(ALL, true)],
    ['SCRAM-SHA-256', PASSWORD, null],
    ['XOAUTH2', TOKEN, offer(ALL, true)],
  ])('%s is the only way', (override, credentials, offered) => {
    expect(selectLoginWays({ ...base, credentials, offered, override })).toEqual([override]);
  });

  it('asks for a token to be sent in the clear', () => {
    expect(
      selectLoginWays({ ...base, tls: false, credentials: TOKEN, offered: offer(ALL, true), override: 'XOAUTH2' }),
    ).toEqual(['XOAUTH2']);
  });

  it('that is not offered is an error with the list of what is', () => {
    const offered = offer(['PLAIN', 'LOGIN'], true);
    expect(() => selectLoginWays({ ...base, credentials: PASSWORD, offered, override: 'SCRAM-SHA-256' })).toThrow(
      expect.objectContaining({
        code: 'upstream_auth_failed',
        phase: 'login',
        message: 'mail.example:995 does not offer SCRAM-SHA-256, it offers PLAIN, LOGIN, user.',
        fields: { offered: ['PLAIN', 'LOGIN', 'user'] },
      }),
    );
  });

  it.each<[LoginWay, string, object]>([
    ['XOAUTH2', 'kind "password"', { credentials: PASSWORD }],
    ['PLAIN', 'kind "token"', { credentials: TOKEN }],
    ['CRAM-MD5', 'authorization identity', { credentials: FOR_ANOTHER }],
    ['SCRAM-SHA-1-PLUS', 'channel binding', { canBind: false }],
    ['apop', 'TLS', { tls: false }],
    ['apop', 'timestamp', { apopChallenge: null }],
  ])('%s that cannot work is an error that says why: %s', (override, why, options) => {
    const whole = { ...base, credentials: PASSWORD, offered: offer(ALL, true), override, ...options };
    expect(() => selectLoginWays(whole)).toThrow(why);
    expect(() => selectLoginWays({ ...whole, offered: null })).toThrow(Pop3CommandError);
  });

  it('is one of the known names', () => {
    expect(LOGIN_WAYS.every((way) => isLoginWay(way))).toBe(true);
    expect(['', 'plain', 'GSSAPI', 'toString'].some((way) => isLoginWay(way))).toBe(false);
  });
});

describe('after a refusal', () => {
  const WAYS = ['SCRAM-SHA-256', 'CRAM-MD5', 'PLAIN', 'LOGIN', 'user', 'apop'] as const;
  const attempt = (
    way: LoginWay,
    line = '-ERR [AUTH] Authentication failed.',
    credentialsSent = true,
  ): LoginAttempt => ({
    way,
    credentialsSent,
    reply: parseStatusLine(Buffer.from(line))!,
  });

  it.each<[string, LoginAttempt[], LoginWay | null]>([
    ['nothing tried yet: the best', [], 'SCRAM-SHA-256'],
    ['of a proof: what any password store can check', [attempt('SCRAM-SHA-256')], 'PLAIN'],
    ['of a proof without a code: the same', [attempt('CRAM-MD5', '-ERR no')], 'PLAIN'],
    ['of a proof and of the password: no third', [attempt('CRAM-MD5'), attempt('PLAIN')], null],
    ['of the password: not once more by another name', [attempt('PLAIN')], null],
    ['of USER and PASS: no APOP', [attempt('user')], null],
    ['of a name, with nothing sent: the next in order', [attempt('SCRAM-SHA-256', '-ERR unknown', false)], 'CRAM-MD5'],
    ['of names only: all ways, each once', WAYS.map((way) => attempt(way, '-ERR unknown', false)), null],
    ['that is a lock', [attempt('CRAM-MD5', '-ERR [IN-USE] busy')], null],
    ['that is a delay', [attempt('CRAM-MD5', '-ERR [LOGIN-DELAY] wait')], null],
    ['that is a passing trouble, even of a name', [attempt('CRAM-MD5', '-ERR [SYS/TEMP] later', false)], null],
    ['that is a lasting one', [attempt('CRAM-MD5', '-ERR [SYS/PERM] no')], null],
  ])('%s', (_, attempts, next) => {
    expect(nextWay(WAYS, attempts)).toBe(next);
  });

  it('of USER without PASS, as the first of two, APOP is left', () => {
    expect(nextWay(['user', 'apop'], [attempt('user', '-ERR', false)])).toBe('apop');
  });

  it('of a token there is no second try, but of a mechanism that is not known', () => {
    const ways = ['OAUTHBEARER', 'XOAUTH2'] as const;
    expect(nextWay(ways, [attempt('OAUTHBEARER')])).toBeNull();
    expect(nextWay(ways, [attempt('OAUTHBEARER', '-ERR unknown', false)])).toBe('XOAUTH2');
  });

  it('credentials reach a server twice at most, whatever it answers', () => {
    const attempts: LoginAttempt[] = [];
    for (let way = nextWay(WAYS, attempts); way; way = nextWay(WAYS, attempts)) attempts.push(attempt(way));
    expect(attempts.map(({ way }) => way)).toEqual(['SCRAM-SHA-256', 'PLAIN']);
  });
});

describe('the offer of CAPA', () => {
  it('is read in any case, without what is no mechanism name, bounded', () => {
    const many = Array.from({ length: 100 }, (_, at) => `X-${at}`).join(' ');
    expect(readOffer(parseCapabilities(['sasl plain Login PLAIN \x1b[31m x@y', 'user']))).toEqual(
      offer(['PLAIN', 'LOGIN'], true),
    );
    expect(readOffer(parseCapabilities([`SASL ${many}`]))?.sasl).toHaveLength(offeredMechanismsMax);
    expect(readOffer(parseCapabilities(['TOP', 'UIDL']))).toEqual(offer([], false));
    expect(readOffer(parseCapabilities([]))).toBeNull();
  });
});
