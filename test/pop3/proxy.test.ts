import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { AppError } from '../../src/errors.ts';
import type { AddressResolver, Pop3Settings } from '../../src/pop3/index.ts';
import { defaultTimeouts } from '../../src/pop3/limits.ts';
import { openTcp, parseProxyUrl } from '../../src/pop3/transport.ts';
import { makeCertificates } from '../support/certificates.ts';
import type { Certificates } from '../support/certificates.ts';
import { startLiar, startProxy } from '../support/proxy.ts';
import type { ProxyOptions, TestProxy } from '../support/proxy.ts';
import { connect, failureOf, logIn, retrieveAll, startFake } from './fake-session.ts';

type Scheme = 'socks5' | 'socks5h' | 'http' | 'https';
const SCHEMES: readonly Scheme[] = ['socks5', 'socks5h', 'http', 'https'];

const PROXY_PASSWORD = 'p@ss:wörd/proxy';
const account = { user: 'joe', password: PROXY_PASSWORD };

const to =
  (...addresses: string[]): AddressResolver =>
  async () =>
    addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

let certificates: Certificates;

beforeAll(async () => {
  certificates = await makeCertificates();
  const authorities = getCACertificates();
  setDefaultCACertificates([certificates.ca]); // For the proxy, which is verified by the public authorities.
  return async () => {
    setDefaultCACertificates(authorities);
    await certificates.remove();
  };
});

async function start(scheme: Scheme, options: Partial<ProxyOptions> = {}): Promise<TestProxy> {
  const kind = scheme.startsWith('socks') ? 'socks5' : 'http';
  const proxy = await startProxy({ kind, ...(scheme === 'https' && { tls: certificates.server }), ...options });
  onTestFinished(() => proxy.close());
  return proxy;
}

const urlOf = (scheme: Scheme, { port }: { port: number }, { user, password } = { user: '', password: '' }): string =>
  user === ''
    ? `${scheme}://127.0.0.1:${port}`
    : `${scheme}://${encodeURIComponent(user)}:${encodeURIComponent(password)}@127.0.0.1:${port}`;

describe.each(SCHEMES)('a session through %s', (scheme) => {
  it.each(['none', 'starttls', 'implicit'] as const)('is whole, with TLS mode %s', async (tls) => {
    const mail = `${'x'.repeat(70)}\r\n`.repeat(10_000);
    const fake = await startFake({ mails: [mail], tls: certificates.server, implicitTls: tls === 'implicit' });
    const proxy = await start(scheme, { account, dribble: true });
    const settings = { tls, ca: certificates.ca, proxy: urlOf(scheme, proxy, account) };
    const client = await logIn(fake, settings, { resolve: to('127.0.0.1') });
    expect(String(await retrieveAll(client, 1))).toBe(mail);
    expect(await client.quit()).toBe(true);
    expect(proxy.targets).toEqual([`127.0.0.1:${fake.port}`]);
    await proxy.idle();
  });

  it('loses nothing that comes in one read with the answer of the proxy', async () => {
    const fake = await startFake({ greeting: '+OK <joined@example.com>' });
    const proxy = await start(scheme, { joinGreeting: true });
    await logIn(fake, { proxy: urlOf(scheme, proxy) });
  });

  it('needs the user name and password that the proxy wants, and never repeats them', async () => {
    const fake = await startFake();
    const proxy = await start(scheme, { account });
    const wrong = { user: 'joe', password: `${PROXY_PASSWORD}!` };
    const refused = await failureOf(connect(fake, { proxy: urlOf(scheme, proxy, wrong) }));
    const missing = await failureOf(connect(fake, { proxy: urlOf(scheme, proxy) }));
    const label = `${scheme}://127.0.0.1:${proxy.port}`;
    for (const failure of [refused, missing]) {
      expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'connect', fields: { proxy: label } });
    }
    expect(refused.message).toBe(`The proxy ${label} refused the user name or the password. Check the proxy settings.`);
    expect(missing.message).toBe(`The proxy ${label} wants a user name and a password. Check the proxy settings.`);
    await proxy.idle();
    expect(fake.connections).toBe(0);
  });

  it('ends with its own error where the proxy is silent, and leaves no socket', async () => {
    const liar = await startLiar([]);
    onTestFinished(() => liar.close());
    const proxy = urlOf(scheme, liar);
    const target = { host: 'pop.example.com', port: 110 };
    const failure = await failureOf(
      connect(target, { proxy }, { resolve: to('127.0.0.9'), timeouts: { connectMs: 100 } }),
    );
    expect(failure).toMatchObject({ code: 'upstream_timeout', phase: 'connect' });
    expect(failure.message).toBe(`No connection to pop.example.com:110 through the proxy ${proxy} within 0.1 s.`);
    await liar.idle();

    const controller = new AbortController();
    const reason = new Error('no longer wanted');
    const opening = connect(target, { proxy }, { resolve: to('127.0.0.9'), signal: controller.signal });
    const failing = failureOf(opening);
    await vi.waitFor(() => expect(liar.openSockets).toBe(1));
    controller.abort(reason);
    expect(await failing).toBe(reason);
    await liar.idle();
  });

  it('names the proxy where it is not there', async () => {
    const closed = await startLiar([]);
    await closed.close();
    const failure = await failureOf(
      connect({ host: '127.0.0.1', port: 110 }, { proxy: urlOf(scheme, closed, account) }),
    );
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'connect' });
    expect(failure.message).toBe(
      `The proxy ${urlOf(scheme, closed)} cannot be reached: the connection was refused. Check the proxy settings.`,
    );
  });
});

describe('what a proxy is asked for', () => {
  async function targetsOf(scheme: Scheme, host: string, resolve?: AddressResolver): Promise<readonly string[]> {
    const fake = await startFake();
    const proxy = await start(scheme);
    await connect({ host, port: fake.port }, { proxy: urlOf(scheme, proxy) }, resolve ? { resolve } : {});
    return proxy.targets.map((target) => target.replace(`:${fake.port}`, ''));
  }

  it.each(['socks5', 'http', 'https'] as const)('is the address that the hook gave: %s', async (scheme) => {
    expect(await targetsOf(scheme, 'pop.example.com', to('192.0.2.7'))).toEqual(['192.0.2.7']);
    const long = scheme === 'socks5' ? '2001:0db8:0000:0000:0000:0000:0000:0007' : '[2001:db8::7]';
    expect(await targetsOf(scheme, 'pop.example.com', to('2001:db8::7'))).toEqual([long]);
  });

  it('is the name with socks5h, whose proxy resolves it: the hook is not asked', async () => {
    const forbidden: AddressResolver = () => Promise.reject(new Error('asked'));
    expect(await targetsOf('socks5h', 'bücher.example', forbidden)).toEqual(['xn--bcher-kva.example']);
    expect(await targetsOf('socks5h', '192.0.2.7', forbidden)).toEqual(['192.0.2.7']);
  });

  it('is without a hook the name with http and https, and an address with socks5', async () => {
    expect(await targetsOf('http', 'no-such-host.invalid')).toEqual(['no-such-host.invalid']);
    expect(await targetsOf('https', 'no-such-host.invalid')).toEqual(['no-such-host.invalid']);
    expect(await targetsOf('socks5', '127.0.0.1')).toEqual(['127.0.0.1']);
  });

  it('is nothing where the hook forbids the host', async () => {
    const proxy = await start('socks5');
    const blocked = new AppError('egress_blocked', 'Not there.');
    const target = { host: 'pop.example.com', port: 110 };
    const opening = connect(target, { proxy: urlOf('socks5', proxy) }, { resolve: () => Promise.reject(blocked) });
    expect(await failureOf(opening)).toBe(blocked);
    expect(proxy.openSockets).toBe(0);
  });

  it.each([
    ['socks5', 5, 'the connection was refused'],
    ['http', 502, 'it answered 502 "Not \\"here\\" "'],
  ] as const)('is the next address where the proxy does not reach one: %s', async (scheme, status, why) => {
    const fake = await startFake();
    const proxy = await start(scheme, { refuse: (host) => (host === '127.0.0.1' ? undefined : status) });
    const settings = { proxy: urlOf(scheme, proxy) };
    const client = await logIn(fake, settings, { resolve: to('192.0.2.7', '127.0.0.1') });
    expect(proxy.targets).toEqual([`192.0.2.7:${fake.port}`, `127.0.0.1:${fake.port}`]);

    const failure = await failureOf(connect(fake, settings, { resolve: to('192.0.2.7', '192.0.2.8') }));
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'connect' });
    expect(failure.message).toBe(
      `No connection to 127.0.0.1:${fake.port} through the proxy ${settings.proxy}: ${why}.`,
    );
    client.close();
    await proxy.idle();
  });
});

describe('a proxy that', () => {
  const OK = Buffer.from([5, 0]);
  it.each<[string, Scheme, (Buffer | string | null)[], RegExp]>([
    ['closes', 'socks5', [null], /closed the connection before it answered/],
    ['closes', 'http', [null], /closed the connection before it answered/],
    ['closes in the middle', 'socks5', [OK, null], /closed the connection before it answered/],
    ['is a SOCKS4 one', 'socks5', [Buffer.from([0, 0x5b, 0, 0, 0, 0, 0, 0])], /does not speak SOCKS5/],
    ['is an HTTP one', 'socks5', ['HTTP/1.1 400 Bad Request\r\n\r\n'], /does not speak SOCKS5/],
    ['changes its version', 'socks5', [OK, Buffer.from([4, 0, 0, 1, 0, 0, 0, 0, 0, 0])], /does not speak SOCKS5/],
    ['wants GSSAPI', 'socks5', [Buffer.from([5, 1])], /chose a way to log in that it was not offered/],
    ['wants a password unasked', 'socks5', [Buffer.from([5, 2])], /chose a way to log in that it was not offered/],
    ['invents a status', 'socks5', [OK, Buffer.from([5, 99])], /the unknown status 99/],
    ['is a POP3 server', 'http', ['+OK ready\r\n'], /does not speak HTTP/],
    ['is a SOCKS5 one', 'http', [OK], /does not speak HTTP/],
    ['has no end', 'http', [`HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(4000)}`], /answers without an end/],
    [
      'forbids it',
      'http',
      ['HTTP/1.1 403 \x1b[31mNo\r\n\r\n'],
      /refuses a tunnel to 127\.0\.0\.9:110: 403 "\\u001b\[31mNo"/,
    ],
    ['redirects', 'http', ['HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n'], /refuses a tunnel .*: 302 "Found"/],
  ])('%s is told as such: %s', async (_, scheme, lines, message) => {
    const liar = await startLiar(lines);
    onTestFinished(() => liar.close());
    const opening = connect(
      { host: 'pop.example.com', port: 110 },
      { proxy: urlOf(scheme, liar) },
      { resolve: to('127.0.0.9') },
    );
    const failure = await failureOf(opening);
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'connect' });
    expect(failure.message).toMatch(message);
    expect(failure.message).toContain(urlOf(scheme, liar));
    await liar.idle();
  });

  it('has a certificate for another name is not spoken to', async () => {
    const proxy = await start('https', { tls: certificates.otherName });
    const failure = await failureOf(connect({ host: '127.0.0.1', port: 110 }, { proxy: urlOf('https', proxy) }));
    expect(failure).toMatchObject({ code: 'upstream_tls_failed', fields: { tls: 'wrong_name' } });
    expect(failure.message).toContain(`The certificate of the proxy ${urlOf('https', proxy)} is for another name`);
    expect(proxy.targets).toEqual([]);
  });

  it('is found through a hook of its own where one is given', async () => {
    const fake = await startFake();
    const proxy = await start('socks5');
    const blocked = new AppError('egress_blocked', 'Not there.');
    const options = { timeouts: defaultTimeouts, signal: new AbortController().signal };
    const endpoint = { host: fake.host, port: fake.port, proxy: `socks5://proxy.example:${proxy.port}` };
    const socket = await openTcp(endpoint, { ...options, resolveProxy: to('127.0.0.1') });
    socket.destroy();
    const refused = openTcp(endpoint, { ...options, resolveProxy: () => Promise.reject(blocked) });
    expect(await failureOf(refused)).toBe(blocked);
  });
});

describe('a proxy URL', () => {
  it.each<[string, object]>([
    ['socks5://proxy.example', { scheme: 'socks5', host: 'proxy.example', port: 1080, credentials: null }],
    [
      'SOCKS5H://[2001:db8::1]/',
      { scheme: 'socks5h', host: '2001:db8::1', port: 1080, label: 'socks5h://[2001:db8::1]:1080' },
    ],
    ['http://proxy.example', { port: 80 }],
    ['https://bücher.example', { host: 'xn--bcher-kva.example', port: 443 }],
    ['socks5://b%C3%BCcher.example:1', { host: 'xn--bcher-kva.example', port: 1 }],
    ['socks5://j%40x:p%3A%2F%23@h:1', { credentials: { username: 'j@x', password: 'p:/#' }, label: 'socks5://h:1' }],
    ['http://joe@h', { credentials: { username: 'joe', password: '' } }],
  ])('%s is read', (url, expected) => {
    expect(parseProxyUrl(url)).toMatchObject(expected);
  });

  it.each([
    '',
    'proxy.example:1080',
    'socks4://joe:s3cret@h',
    'ftp://joe:s3cret@h',
    'socks5://joe:s3cret@',
    'socks5://joe:s3cret@h:0',
    'socks5://joe:s3cret@h:65536',
    'socks5://joe:s3cret/x@h',
    'http://joe:s3cret@h/path',
    'http://joe:s3cret@h?x',
    'http://joe:s3cret@h#x',
    'socks5://joe:s3cret%@h',
    'socks5://j%3Ao:s3cret@h',
    `socks5://joe:s3cret${'x'.repeat(300)}@h`,
    'socks5://joe:s3cret@a%20b',
  ])('%j is refused without being repeated', async (proxy) => {
    expect(() => parseProxyUrl(proxy)).toThrow(/^The proxy URL cannot be used: /);
    const settings: Partial<Pop3Settings> = { proxy };
    const failure = await failureOf(connect({ host: '127.0.0.1', port: 110 }, settings));
    expect(failure).toMatchObject({ code: 'invalid_request' });
    expect(`${failure.stack}`).not.toContain('s3cret');
  });
});
