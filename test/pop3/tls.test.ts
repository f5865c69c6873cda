import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { AddressResolver, Pop3Settings } from '../../src/pop3/index.ts';
import { Pop3ConnectionError } from '../../src/pop3/index.ts';
import { defaultTimeouts } from '../../src/pop3/limits.ts';
import { openTcp, readTlsAlert, readTlsFacts, startTls } from '../../src/pop3/transport.ts';
import type { TlsOptions } from '../../src/pop3/transport.ts';
import { makeCertificates } from '../support/certificates.ts';
import type { Certificates } from '../support/certificates.ts';
import type { FakePop3Options } from '../support/fake-pop3.ts';
import { startOpensslServer } from '../support/openssl-server.ts';
import { startLiar } from '../support/proxy.ts';
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

  it('tells what was agreed on, and whose certificate it was', async () => {
    const client = await open(await startFake(server()));
    expect(client.tlsFacts).toMatchObject({ protocol: 'TLSv1.3', verifiedBy: 'authority' });
    expect((await logIn(await startFake())).tlsFacts).toBeNull();
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

  it('refuses a self-signed certificate, unless it is the one that is trusted', async () => {
    const { selfSigned } = certificates;
    expect((await refusal(server(selfSigned))).message).toMatch(/is self-signed\. If the server is yours/);
    await open(await startFake(server(selfSigned)), { ca: selfSigned.cert });
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

  it.each(['rubbish', '-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n'])(
    'refuses a "ca" that is no certificate: %j',
    async (ca) => {
      expect(await refusal(server(), { ca })).toMatchObject({ fields: { tls: 'bad_settings' } });
    },
  );

  it('may be held to TLS 1.3', async () => {
    const old = { ...certificates.server, maxVersion: 'TLSv1.2' };
    const tlsOptions = { minVersion: 'TLSv1.3' } as const;
    await open(await startFake(server()), { tlsOptions });
    await open(await startFake(server(old)));
    const failure = await refusal(server(old), { tlsOptions });
    expect(failure).toMatchObject({ fields: { tls: 'protocol_too_old' } });
    expect(failure.message).toContain('no TLS version of 1.3 or newer');
  });

  it('asks for the host name, and verifies it: an IDN in its ASCII form, an address not at all', async () => {
    const asked: unknown[] = [];
    const SNICallback = (name: string, done: (error: null) => void): void => {
      asked.push(name);
      done(null);
    };
    const otherName = { ...certificates.otherName, SNICallback };
    await open(await startFake(server(otherName)), { host: 'Bücher.example' });
    await open(await startFake(server(otherName)), { host: 'elsewhere.example.com.' });
    const ownName = { ...certificates.server, SNICallback };
    await open(await startFake(server(ownName)), { host: '127.0.0.1' });
    expect(asked).toEqual(['xn--bcher-kva.example', 'elsewhere.example.com']);
  });

  it('asks for and verifies another name where one is set', async () => {
    const settings = { host: '127.0.0.1', tlsOptions: { servername: 'elsewhere.example.com' } };
    await open(await startFake(server(certificates.otherName)), settings);
    const failure = await refusal(server(), settings);
    expect(failure).toMatchObject({ fields: { tls: 'wrong_name' } });
    expect(failure.message).toContain('for another name ("DNS:localhost, IP Address:127.0.0.1")');
  });

  describe('with a pin', () => {
    const digests = (pem: string): Record<'certificate' | 'key' | 'hex', string> => {
      const { raw, publicKey, fingerprint256 } = new X509Certificate(pem);
      const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('base64');
      return {
        certificate: `sha256/${sha256(raw)}`,
        key: `sha256//${sha256(publicKey.export({ type: 'spki', format: 'der' }))}`,
        hex: fingerprint256,
      };
    };
    const wrong = `sha256/${Buffer.alloc(32).toString('base64')}`;

    it.each(['certificate', 'key', 'hex'] as const)('of the %s asks for no authority, name or date', async (kind) => {
      const { expired, otherName, selfSigned } = certificates;
      for (const certificate of [expired, otherName, selfSigned]) {
        const fake = await startFake(server(certificate));
        await logIn(fake, { tls, tlsOptions: { pins: [wrong, digests(certificate.cert)[kind]] } }, { resolve });
      }
    });

    it('refuses every other certificate, and says which one it met', async () => {
      const { selfSigned } = certificates;
      const failure = await refusal(server(selfSigned), { ca: selfSigned.cert, tlsOptions: { pins: [wrong] } });
      expect(failure).toMatchObject({ fields: { tls: 'wrong_pin' } });
      expect(failure.message).toContain(`It is ${digests(selfSigned.cert).certificate}, its public key sha256/`);
      process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
      try {
        const fake = await startFake(server());
        const refused = await failureOf(logIn(fake, { tls, tlsOptions: { pins: [wrong] } }, { resolve }));
        expect(refused).toMatchObject({ fields: { tls: 'wrong_pin' } });
      } finally {
        delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      }
    });

    it('and an authority wants both', async () => {
      const { server: good, expired } = certificates;
      await open(await startFake(server(good)), { tlsOptions: { pins: [digests(good.cert).key] } });
      const failure = await refusal(server(expired), { tlsOptions: { pins: [digests(expired.cert).key] } });
      expect(failure).toMatchObject({ fields: { tls: 'expired' } });
    });

    it('is refused where it can match nothing, and an empty list is none at all', async () => {
      const fake = await startFake(server());
      const failure = await failureOf(open(fake, { tlsOptions: { pins: ['sha256/AAAA'] } }));
      expect(failure).toMatchObject({ code: 'invalid_request' });
      await fake.idle();
      await failureOf(logIn(fake, { tls, tlsOptions: { pins: [] } }, { resolve }));
      expect(fake.commands.filter((command) => command.startsWith('USER'))).toEqual([]);
    });
  });

  describe('with a client certificate', () => {
    const asking = (): FakePop3Options => {
      const judge = { requestCert: true, rejectUnauthorized: true, ca: certificates.ca };
      return server({ ...certificates.server, ...judge });
    };

    it('shows it to a server that asks, its key encrypted or not', async () => {
      const { cert, key } = certificates.client;
      await open(await startFake(asking()), { tlsOptions: { cert, key } });
      const encrypted = { cert, key: certificates.clientKeyEncrypted, passphrase: 'open sesame' };
      await open(await startFake(asking()), { tlsOptions: encrypted });
    });

    it('refuses what does not fit together, without a word of the key or passphrase', async () => {
      const { cert, key } = certificates.client;
      const encrypted = certificates.clientKeyEncrypted;
      const passphrase = 'open simsim';
      const misfits: TlsOptions[] = [
        { cert },
        { key },
        { cert, key: certificates.server.key },
        { cert, key: 'rubbish' },
      ];
      for (const tlsOptions of [...misfits, { cert, key: encrypted }, { cert, key: encrypted, passphrase }]) {
        const failure = await refusal(asking(), { tlsOptions });
        expect(failure).toMatchObject({ fields: { tls: 'bad_settings' } });
        expect(failure.message).not.toMatch(/simsim|BEGIN|rubbish/);
      }
    });
  });
});

describe('a server that judges the client certificate', () => {
  it.each([
    ['TLS 1.2', 'no certificate', '-tls1_2', 'refused', /wants a client certificate, or/],
    ['TLS 1.3', 'no certificate', '-tls1_3', 'client_certificate_required', /Give one as "cert" and "key"/],
    ['TLS 1.2', 'a certificate of a stranger', '-tls1_2', 'client_certificate_refused', /does not accept the client/],
    ['TLS 1.3', 'a certificate of a stranger', '-tls1_3', 'client_certificate_refused', /does not accept the client/],
  ])('in %s with %s: the alert is told as such', async (_, shown, version, failure, message) => {
    const { caPath, server, selfSigned } = certificates;
    const identity = ['-cert', server.certPath, '-key', server.keyPath, '-CAfile', caPath];
    const openssl = await startOpensslServer([...identity, version, '-Verify', '1', '-verify_return_error']);
    onTestFinished(() => openssl.close());
    const { cert, key } = selfSigned;
    const tlsOptions: TlsOptions = { ca: certificates.ca, ...(shown !== 'no certificate' && { cert, key }) };
    const endpoint = { host: 'localhost', port: openssl.port, tlsOptions };
    const options = { timeouts: defaultTimeouts, signal: new AbortController().signal, resolve };

    const socket = await openTcp(endpoint, options);
    const error = await startTls(socket, endpoint, options).then(
      async (secured) => {
        secured.resume();
        const [error] = (await once(secured, 'error')) as [Error];
        return readTlsAlert(error, endpoint);
      },
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(Pop3ConnectionError);
    expect(error).toMatchObject({ code: 'upstream_tls_failed', phase: 'tls', fields: { tls: failure } });
    expect((error as Error).message).toMatch(message);
    expect(readTlsAlert(new Error('reset'), endpoint)).toBeNull();
  });
});

describe('a TLS handshake', () => {
  const options = { timeouts: { ...defaultTimeouts, tlsMs: 100 }, signal: new AbortController().signal, resolve };

  it('leaves its facts as a plain object', async () => {
    const fake = await startFake({ tls: certificates.server, implicitTls: true });
    const endpoint = { host: 'localhost', port: fake.port, ca: certificates.ca };
    const plain = await openTcp(endpoint, options);
    expect(readTlsFacts(plain, endpoint)).toBeNull();
    const secured = await startTls(plain, endpoint, options);
    const facts = readTlsFacts(secured, endpoint);
    expect(facts).toEqual(structuredClone(facts));
    expect(facts).toEqual({
      protocol: 'TLSv1.3',
      cipher: 'TLS_AES_256_GCM_SHA384',
      verifiedBy: 'authority',
      certificate: {
        subject: 'CN=server',
        issuer: 'CN=popbridge test',
        names: 'DNS:localhost, IP Address:127.0.0.1',
        validFrom: '2020-01-01T00:00:00.000Z',
        validTo: '2049-12-31T23:59:59.000Z',
        sha256: expect.stringMatching(/^sha256\/.{44}$/),
        publicKeySha256: expect.stringMatching(/^sha256\/.{44}$/),
      },
    });
    secured.destroy();

    // What it shows can be pinned as it stands.
    const { sha256 = '', publicKeySha256 = '' } = facts?.certificate ?? {};
    for (const pin of [sha256, publicKeySha256]) {
      const pinned = { host: 'x.example', port: fake.port, tlsOptions: { pins: [pin] } };
      const secured = await startTls(await openTcp(pinned, options), pinned, options);
      expect(readTlsFacts(secured, pinned)).toMatchObject({ verifiedBy: 'pin' });
      expect(readTlsFacts(secured, { ...pinned, ca: 'x' })).toMatchObject({ verifiedBy: 'authority and pin' });
      secured.destroy();
    }
    await fake.idle();
  });

  it.each(['+OK ready\r\n', '220 smtp.example.com\r\n', 'HTTP/1.1 400 Bad Request\r\n\r\n'])(
    'on a plaintext port that greets with %j says so',
    async (greeting) => {
      const fake = await startFake({ greeting });
      const failure = await failureOf(connect(fake, { tls: 'implicit' }));
      expect(failure).toMatchObject({ code: 'upstream_tls_failed', phase: 'tls', fields: { tls: 'not_tls' } });
      expect(failure.message).toContain('does not speak TLS from the first byte. Set tls to "starttls"');
      await fake.idle();
    },
  );

  it('ends with the deadline, the abort or the connection, and leaves no socket', async () => {
    const silent = await startLiar([]);
    onTestFinished(() => silent.close());
    const endpoint = { host: 'localhost', port: silent.port };
    const slow = await failureOf(openTcp(endpoint, options).then((socket) => startTls(socket, endpoint, options)));
    expect(slow).toMatchObject({ code: 'upstream_timeout', phase: 'tls' });

    const controller = new AbortController();
    const reason = new Error('no longer wanted');
    const aborting = { ...options, timeouts: defaultTimeouts, signal: controller.signal };
    const handshake = failureOf(openTcp(endpoint, aborting).then((socket) => startTls(socket, endpoint, aborting)));
    await vi.waitFor(() => expect(silent.openSockets).toBe(1));
    controller.abort(reason);
    expect(await handshake).toBe(reason);
    await silent.idle();

    const closing = await startFake({ greeting: 'close' });
    const closed = await failureOf(connect(closing, { tls: 'implicit' }));
    expect(closed).toMatchObject({ code: 'upstream_closed', phase: 'tls', fields: { tls: 'closed' } });
  });
});
