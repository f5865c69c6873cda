import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { formatPop3Url, parsePop3Url } from '../../src/pop3/url.ts';
import type { Pop3Url } from '../../src/pop3/url.ts';

const SECRET = 'hunter2';

function refusalOf(url: string): AppError {
  try {
    parsePop3Url(url);
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid_request') return error;
    throw error;
  }
  throw new Error('It was to be refused.');
}

describe('a POP3 URL', () => {
  it.each<[string, Pop3Url]>([
    // RFC 2384 §8
    ['pop://rg@mailsrv.qualcomm.com', { username: 'rg', host: 'mailsrv.qualcomm.com', port: 110, tls: 'starttls' }],
    [
      'pop://rg;AUTH=+APOP@mail.eudora.com:8110',
      { username: 'rg', mechanism: 'APOP', host: 'mail.eudora.com', port: 8110, tls: 'starttls' },
    ],
    [
      'pop://baz;AUTH=SCRAM-MD5@foo.bar',
      { username: 'baz', mechanism: 'SCRAM-MD5', host: 'foo.bar', port: 110, tls: 'starttls' },
    ],
    ['pop://baz;AUTH=*@foo.bar', { username: 'baz', host: 'foo.bar', port: 110, tls: 'starttls' }],
    // What people write.
    ['pops://foo.bar', { host: 'foo.bar', port: 995, tls: 'implicit' }],
    ['POP3S://Foo.Bar/', { host: 'foo.bar', port: 995, tls: 'implicit' }],
    ['pop3://foo.bar', { host: 'foo.bar', port: 110, tls: 'starttls' }],
    ['pop://foo.bar:995', { host: 'foo.bar', port: 995, tls: 'implicit' }],
    ['pops://foo.bar:110', { host: 'foo.bar', port: 110, tls: 'implicit' }],
    ['pop://foo.bar:', { host: 'foo.bar', port: 110, tls: 'starttls' }],
    [
      ' pops://joe@example.com@pop.example.com ',
      { username: 'joe@example.com', host: 'pop.example.com', port: 995, tls: 'implicit' },
    ],
    ['pops://[2001:DB8::1]:1995', { host: '2001:db8::1', port: 1995, tls: 'implicit' }],
    ['pops://bücher.example', { host: 'xn--bcher-kva.example', port: 995, tls: 'implicit' }],
    ['pops://b%C3%BCcher.example', { host: 'xn--bcher-kva.example', port: 995, tls: 'implicit' }],
    ['pops://;AUTH=EXTERNAL@foo.bar', { mechanism: 'EXTERNAL', host: 'foo.bar', port: 995, tls: 'implicit' }],
  ])('%s is read', (url, settings) => {
    expect(parsePop3Url(url)).toEqual(settings);
  });

  it.each([
    ['?tls=none', { port: 110, tls: 'none' }],
    [':995/?tls=none', { port: 995, tls: 'none' }],
    [':995?tls=starttls', { port: 995, tls: 'starttls' }],
    ['?TLS=Implicit', { port: 995, tls: 'implicit' }],
  ])('pop://foo.bar%s says which TLS there is to be', (rest, settings) => {
    expect(parsePop3Url(`pop://foo.bar${rest}`)).toEqual({ host: 'foo.bar', ...settings });
  });

  it.each([
    ['joe:p', 'joe', 'p', undefined],
    ['joe:', 'joe', '', undefined],
    ['joe:a:b@c', 'joe', 'a:b@c', undefined],
    ['joe;AUTH=PLAIN:p', 'joe', 'p', 'PLAIN'],
    ['joe:p;auth=plain', 'joe', 'p', 'PLAIN'],
    ['joe:p;q;AUTH=%2BAPOP', 'joe', 'p;q', 'APOP'],
    ['j%3Ao%40e%3BAUTH%3DX:%C3%BC%25%2F', 'j:o@e;AUTH=X', 'ü%/', undefined],
    ['joe+spam:a+b', 'joe+spam', 'a+b', undefined],
  ])('may have a password, as in %s', (user, username, password, mechanism) => {
    const { host, port, tls, ...rest } = parsePop3Url(`pops://${user}@foo.bar`);
    expect({ host, port, tls }).toEqual({ host: 'foo.bar', port: 995, tls: 'implicit' });
    expect(rest).toEqual({ username, password, ...(mechanism && { mechanism }) });
  });

  it.each([
    '',
    `joe:${SECRET}@foo.bar`,
    `imap://joe:${SECRET}@foo.bar`,
    `pop://joe:${SECRET}@`,
    `pop://:${SECRET}@foo.bar`,
    `pop://joe:${SECRET}/x@foo.bar`,
    `pop://joe:12/${SECRET}@foo.bar`,
    `pop://joe:${SECRET}#x@foo.bar`,
    `pop://joe:${SECRET}%@foo.bar`,
    `pop://joe:${SECRET}%FF@foo.bar`,
    `pop://joe:${SECRET}%0D%0AQUIT@foo.bar`,
    `pop://jo%00e:${SECRET}@foo.bar`,
    `pop://joe;AUTH=${SECRET}!@foo.bar`,
    `pop://joe;AUTH=:${SECRET}@foo.bar`,
    `pop://joe:${SECRET}@foo.bar:0`,
    `pop://joe:${SECRET}@foo.bar:65536`,
    `pop://joe:${SECRET}@foo.bar:x`,
    `pop://joe:${SECRET}@foo bar`,
    `pop://joe:${SECRET}@[::1`,
    `pop://joe:${SECRET}@[foo]`,
    `pop://joe:${SECRET}@::1`,
    `pop://joe:${SECRET}@foo.bar/INBOX`,
    `pop://joe:${SECRET}@foo.bar?tls=maybe`,
    `pop://joe:${SECRET}@foo.bar?x`,
    `pops://joe:${SECRET}@foo.bar?tls=none`,
    `pops://joe:${SECRET}@foo.bar?tls=starttls`,
  ])('%j is refused without being repeated', (url) => {
    const failure = refusalOf(url);
    expect(failure.message).toMatch(/^The POP3 URL cannot be used: /);
    expect(failure.message).not.toContain(SECRET);
    expect(failure.cause).toBeUndefined();
  });

  it('has a bound on its length, within which an OAuth token fits', () => {
    expect(parsePop3Url(`pops://joe:${'x'.repeat(8_000)}@foo.bar`).password).toHaveLength(8_000);
    expect(refusalOf(`pops://joe:${'x'.repeat(20_000)}@foo.bar`).message.length).toBeLessThan(300);
  });

  it('is written without the password', () => {
    const settings = parsePop3Url(`pops://joe@example.com;AUTH=+APOP:${SECRET}@[::1]:1995`);
    expect(settings.password).toBe(SECRET);
    expect(formatPop3Url(settings)).toBe('pops://joe%40example.com;AUTH=+APOP@[::1]:1995');
    expect(formatPop3Url(parsePop3Url('pop://foo.bar?tls=none'))).toBe('pop://foo.bar?tls=none');
  });

  it('that is written is read back as what it was', () => {
    const settings: fc.Arbitrary<Pop3Url> = fc.record(
      {
        host: fc.oneof(fc.domain(), fc.constantFrom('::1', '2001:db8::7', '192.0.2.1')),
        port: fc.oneof(fc.constantFrom(110, 995), fc.integer({ min: 1, max: 65_535 })),
        tls: fc.constantFrom('implicit', 'starttls', 'none'),
        username: fc.string({ unit: 'grapheme', minLength: 1 }).filter((name) => !/[\r\n\0]/.test(name)),
        mechanism: fc.constantFrom('PLAIN', 'SCRAM-SHA-256-PLUS', 'APOP', 'USER', 'EXTERNAL'),
      },
      { requiredKeys: ['host', 'port', 'tls'] },
    );
    fc.assert(
      fc.property(settings, (settings) => {
        expect(parsePop3Url(formatPop3Url(settings))).toEqual(settings);
      }),
    );
  });

  it('of any text is read, or refused as such', () => {
    const pieces = fc.constantFrom(
      'pop',
      's',
      '3',
      '://',
      '@',
      ':',
      ';AUTH=',
      '+',
      '*',
      '[',
      ']',
      '::1',
      '/',
      '?tls=',
      'none',
      '%',
      '%40',
      'a',
      '995',
      'ü',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 15 }).map((parts) => `pop://${parts.join('')}`),
    );
    fc.assert(
      fc.property(text, (text) => {
        try {
          const { port, host } = parsePop3Url(text);
          expect(port).toBeGreaterThan(0);
          expect(host).toMatch(/^[a-z\d._:-]+$/);
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid_request' });
        }
      }),
      { numRuns: 500 },
    );
  });
});
