import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { AddressResolver, Pop3Settings } from '../../src/pop3/index.ts';
import { Pop3ConnectionError } from '../../src/pop3/index.ts';
import { makeCertificates } from '../support/certificates.ts';
import type { Certificates } from '../support/certificates.ts';
import type { FakePop3Options } from '../support/fake-pop3.ts';
import { connect, failureOf, logIn, retrieveAll, startFake } from './fake-session.ts';

/** Whatever the host is called, the server is here. */
const resolve: AddressResolver = async () => [{ address: '127.0.0.1', family: 4 }];

let certificates: Certificates;

beforeAll(async () => {
  certificates = await makeCertificates();
  return () => certificates.remove();
});

describe.each(['implicit', 'starttls'] as const)('TLS, %s', (tls) => {
  function server(certificate: { key: string; cert: string } = certificates.server): FakePop3Options {
    return { tls: certificate, implicitTls: tls === 'implicit' };
  }

  /** The session, up to the login. Trusts the tests' authority. */
  const open = (fake: Awaited<ReturnType<typeof startFake>>, settings: Partial<Pop3Settings> = {}) =>
    logIn(fake, { tls, ca: certificates.ca, ...settings }, { resolve });

  async function refusal(options: FakePop3Options, settings: Partial<Pop3Settings> = {}): Promise<Error> {
    const fake = await startFake(options);
    const failure = await failureOf(open(fake, settings));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_tls_failed', phase: 'tls' });
    await fake.idle();
    expect(fake.lines.filter(({ line }) => /^(USER|PASS)/.test(line))).toEqual([]);
    return failure;
  }

  it.each([Number.POSITIVE_INFINITY, 1])('carries the whole session, in pieces of %d bytes', async (chunkBytes) => {
    const fake = await startFake({ ...server(), chunkBytes, mails: ['a\r\n.\r\n'] });
    const client = await open(fake);
    expect(String(await retrieveAll(client, 1))).toBe('a\r\n.\r\n');
    expect(await client.quit()).toBe(true);
    await fake.idle();
    expect(fake.lines.filter((line) => !line.tls).map(({ line }) => line)).toEqual(tls === 'implicit' ? [] : ['STLS']);
  });

  it('verifies the certificate against the host name, not against the address that it led to', async () => {
    const settings = { host: 'elsewhere.example.com' };
    await open(await startFake(server(certificates.otherName)), settings);
    expect((await refusal(server(certificates.server), settings)).message).toContain('is for another name');
  });

  it('verifies the certificate against the address where the host is one', async () => {
    await open(await startFake(server()), { host: '127.0.0.1' });
    expect((await refusal(server(), { host: '127.0.0.2' })).message).toContain('is for another name');
    expect((await refusal(server(), { host: '::1' })).message).toContain('is for another name');
  });

  it('refuses a certificate that has expired', async () => {
    expect((await refusal(server(certificates.expired))).message).toContain('has expired');
  });

  it('refuses an authority that it does not know, and says how to make it known', async () => {
    const fake = await startFake(server());
    const failure = await failureOf(logIn(fake, { tls }, { resolve }));
    expect(failure).toMatchObject({ code: 'upstream_tls_failed', phase: 'tls' });
    expect(failure.message).toMatch(/not from a known authority\. If the server is yours, .* "ca"/);
    await fake.idle();
  });

  it('refuses a self-signed certificate', async () => {
    const key = await readFile(join(dirname(certificates.caPath), 'ca.key'), 'utf8');
    const fake = await startFake(server({ key, cert: certificates.ca }));
    const failure = await failureOf(logIn(fake, { tls }, { resolve }));
    expect(failure).toMatchObject({ code: 'upstream_tls_failed' });
    expect(failure.message).toMatch(/is self-signed\. If the server is yours/);
  });

  it('refuses a server that offers nothing newer than TLS 1.1', async () => {
    const old = { ...certificates.server, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    expect((await refusal(server(old))).message).toContain('no TLS version of 1.2 or newer');
  });

  it('cannot be told by the environment to verify nothing', async () => {
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      expect((await refusal(server(certificates.expired))).message).toContain('has expired');
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    }
  });

  it('refuses a "ca" that is no certificate', async () => {
    await refusal(server(), { ca: '-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n' });
  });
});

describe('TLS from the first byte', () => {
  it('to a port that greets in the clear is told as what it is', async () => {
    const fake = await startFake();
    const failure = await failureOf(connect(fake, { tls: 'implicit' }));
    expect(failure).toMatchObject({ code: 'upstream_tls_failed', phase: 'tls' });
    expect(failure.message).toContain('does not speak TLS from the first byte. Set tls to "starttls"');
    await fake.idle();
  });

  it('to a port that hangs up says so', async () => {
    const fake = await startFake({ greeting: 'close' });
    const failure = await failureOf(connect(fake, { tls: 'implicit' }));
    expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'tls' });
    expect(failure.message).toContain('closed the connection in the TLS handshake');
  });
});

describe('STLS', () => {
  it.each(['-ERR no TLS here', 'close', '+ what?'])('answered by %j sends nothing in the clear', async (answer) => {
    const fake = await startFake({ on: { STLS: () => answer } });
    const failure = await failureOf(logIn(fake, { tls: 'starttls' }));
    expect(failure).toMatchObject({ phase: 'tls' });
    if (answer.startsWith('-ERR')) {
      expect(failure).toMatchObject({ code: 'upstream_tls_failed' });
      expect(failure.message).toContain('refuses STLS: "-ERR no TLS here". Nothing was sent in the clear.');
    }
    await fake.idle();
    expect(fake.commands).toEqual(['STLS']);
  });

  it.each([
    ['a whole line', '+OK begin TLS\r\n+OK injected\r\n'],
    ['the beginning of a line', '+OK begin TLS\r\n+OK injected by '],
    ['one byte', '+OK begin TLS\r\n+'],
    ['an empty line', '+OK begin TLS\r\n\r\n'],
  ])('with %s behind its answer, in the clear, ends the session', async (_, answer) => {
    const on = { STLS: () => ({ bytes: Buffer.from(answer), after: 'tls' as const }) };
    const fake = await startFake({ tls: certificates.server, on });
    const failure = await failureOf(connect(fake, { tls: 'starttls', ca: certificates.ca }));
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'tls' });
    await fake.idle();
    expect(fake.commands).toEqual(['STLS']);
  });
});
