/** The way out through the operator's proxy: the real sender, and proxies that do what a real one cannot be made to do. */
import { createServer as createHttpsServer } from 'node:https';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createFormPost } from '../../src/egress/form-post.ts';
import { createEgressProxy, type EgressProxy } from '../../src/egress/proxy.ts';
import { AppError } from '../../src/errors.ts';
import { openBlackHole } from '../support/black-hole.ts';
import { makeCertificates, type Certificates } from '../support/certificates.ts';
import { startLiar, startProxy, type ProxyOptions } from '../support/proxy.ts';
import { startTinyproxy, tinyproxyAvailable } from '../support/tinyproxy.ts';
import { post, useSender, type SenderOptions } from '../webhook/sender-fixture.ts';
import { judgeRebound } from './rebound-name.ts';

const { listen, serveHttp, makeSender } = useSender();

/** Never on this machine: whatever reaches an endpoint has come through the proxy, which connects to loopback instead. */
const ELSEWHERE = '192.0.2.7';
const resolve = async () => [{ address: ELSEWHERE, family: 4 } as const];
const LOGIN = { user: 'ann@example', password: 'pä/ss:word' };
const ms = expect.any(Number) as number;

let certificates: Certificates;
beforeAll(async () => {
  certificates = await makeCertificates();
});
afterAll(() => certificates.remove());
const trusted = getCACertificates('default');
afterEach(() => setDefaultCACertificates(trusted));
const trustOurs = (): void => setDefaultCACertificates([...trusted, certificates.ca]);

/** @param proxy where it listens. */
function through(url: string, connectTimeoutMs?: number): EgressProxy {
  const proxy = createEgressProxy(url, connectTimeoutMs);
  onTestFinished(() => proxy.close());
  return proxy;
}

async function proxied(options: Partial<ProxyOptions> = {}, over: SenderOptions = {}) {
  const server = await startProxy({ kind: 'http', ...options });
  onTestFinished(() => server.close());
  const login = options.account ? `${encodeURIComponent(LOGIN.user)}:${encodeURIComponent(LOGIN.password)}@` : '';
  const url = options.tls ? `https://${login}localhost:${server.port}` : `http://${login}127.0.0.1:${server.port}`;
  return { server, sender: makeSender({ resolve, proxy: through(url), timeoutMs: 5_000, ...over }) };
}

/** The error of ours that an attempt ends with. */
async function fault(sending: Promise<unknown>): Promise<AppError> {
  const error = await sending.then(
    (answer) => new Error(`It was counted: ${JSON.stringify(answer)}`),
    (thrown: unknown) => thrown,
  );
  if (error instanceof AppError && error.code === 'egress_unavailable') return error;
  throw error;
}

describe('a tunnel', () => {
  test('is asked for to the checked address, while Host is the name; and what is told is where the endpoint is', async () => {
    const { port } = await serveHttp((request, response) => response.end(request.headers.host));
    const { server, sender } = await proxied();
    const url = `http://hook.invalid:${port}/`;
    const answer = await sender.post(url, {}, Buffer.from('{}'));
    expect(answer).toMatchObject({ status: 200, detail: `hook.invalid:${port}`, remoteAddress: ELSEWHERE });
    expect(answer.phases).toEqual({ dnsMs: ms, connectMs: ms, tlsMs: null, firstByteMs: ms, totalMs: ms });
    expect(server.targets).toEqual([`${ELSEWHERE}:${port}`]);
    // Kept, and the second attempt has no tunnel to wait for. undici has the connection back a turn later.
    await setImmediate();
    const again = await sender.post(url, {}, Buffer.from('{}'));
    expect(again).toMatchObject({ status: 200, remoteAddress: ELSEWHERE });
    expect(again.phases).toMatchObject({ dnsMs: null, connectMs: null, firstByteMs: ms });
    expect(server.targets).toHaveLength(1);
  });

  test('carries TLS to the endpoint itself, which is asked for by its name and held to its own certificate', async () => {
    const names: unknown[] = [];
    const https = createHttpsServer(certificates.server, (request, response) => {
      names.push((request.socket as TLSSocket).servername, request.headers.host);
      response.end('ok');
    });
    https.on('tlsClientError', () => {});
    const { port } = await listen(https);
    const { server, sender } = await proxied();
    expect((await post(sender, `https://localhost:${port}/`)).detail).toMatch(/^No answer: (UNABLE|SELF_SIGNED)/);
    expect(names).toEqual([]);
    trustOurs();
    const { phases, ...answer } = await sender.post(`https://localhost:${port}/`, {}, Buffer.from('{}'));
    expect(answer).toMatchObject({ status: 200, detail: 'ok', remoteAddress: ELSEWHERE });
    expect(phases).toEqual({ dnsMs: ms, connectMs: ms, tlsMs: ms, firstByteMs: ms, totalMs: ms });
    expect(names).toEqual(['localhost', `localhost:${port}`]);
    expect(await post(sender, `https://hook.example.com:${port}/`)).toEqual({
      status: null,
      detail: 'No answer: ERR_TLS_CERT_ALTNAME_INVALID.',
    });
    expect(new Set(server.targets)).toEqual(new Set([`${ELSEWHERE}:${port}`]));
  });

  test('through a proxy with TLS and a login of its own', async () => {
    trustOurs();
    const { port } = await serveHttp((_request, response) => response.end('ok'));
    const { server, sender } = await proxied({ tls: certificates.server, account: LOGIN });
    expect(await post(sender, `http://hook.invalid:${port}/`)).toEqual({ status: 200, detail: 'ok' });
    expect(server.targets).toEqual([`${ELSEWHERE}:${port}`]);
  });

  test('to an IPv6 address has it in brackets', async () => {
    const { port } = await serveHttp((_request, response) => response.end('ok'));
    const { server, sender } = await proxied({}, { resolve: async () => [{ address: '2001:db8::7', family: 6 }] });
    expect(await post(sender, `http://hook.invalid:${port}/`)).toEqual({ status: 200, detail: 'ok' });
    expect(server.targets).toEqual([`[2001:db8::7]:${port}`]);
  });

  test('loses nothing of what the endpoint says first', async () => {
    const liar = await startLiar(['HTTP/1.1 200 Connection established\r\n\r\nearly', null]);
    onTestFinished(() => liar.close());
    const proxy = through(`http://127.0.0.1:${liar.port}`);
    const target = { address: ELSEWHERE, port: 80, host: 'hook.invalid' };
    const socket = await proxy.open(target, AbortSignal.timeout(5_000));
    socket.end('x');
    expect(await text(socket)).toBe('early');
  });

  test('is asked for to the next address, where the proxy does not get to the first', async () => {
    const { port } = await serveHttp((_request, response) => response.end('ok'));
    const addresses = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map((address) => ({ address, family: 4 as const }));
    const { server, sender } = await proxied(
      { refuse: (host) => ({ '192.0.2.1': 502, '192.0.2.2': 403 })[host] },
      { resolve: async () => addresses },
    );
    const answer = await sender.post(`http://hook.invalid:${port}/`, {}, Buffer.from('{}'));
    expect(answer).toMatchObject({ status: 200, remoteAddress: '192.0.2.3' });
    expect(server.targets).toEqual(addresses.map(({ address }) => `${address}:${port}`));
  });
});

describe('the egress policy holds in front of the proxy', () => {
  async function judged(allow: string, answers: string[]) {
    const { dns, policy } = await judgeRebound(allow, answers);
    return { dns, ...(await proxied({}, { resolve: policy.resolveWebhook })) };
  }

  test.each([
    'https://10.0.0.1/',
    'https://[::ffff:10.0.0.1]/',
    'https://169.254.169.254/',
    'https://metadata.google.internal/',
    'https://localhost/',
    'http://93.184.216.34/',
  ])('%s is not asked for', async (url) => {
    const { server, sender } = await judged('', ['10.0.0.1']);
    const { status, detail } = await post(sender, url);
    expect(status).toBeNull();
    expect(detail).toContain('POPBRIDGE_EGRESS_ALLOW');
    expect(server.targets).toEqual([]);
    expect(server.openSockets).toBe(0);
  });

  test('a name that was rebound is not followed: the proxy is given the checked address, and has no name to look up', async () => {
    const { port } = await serveHttp(
      (_request, response) => void response.writeHead(204, { connection: 'close' }).end(),
    );
    const { dns, server, sender } = await judged('8.8.8.8/32:*', ['8.8.8.8', '127.0.0.1']);
    expect((await post(sender, `http://rebind.example:${port}/`)).status).toBe(204);
    expect((await post(sender, `http://rebind.example:${port}/`)).status).toBeNull();
    expect(server.targets).toEqual([`8.8.8.8:${port}`]);
    expect(dns.asked).toHaveLength(2);
  });
});

describe('what the proxy says of the endpoint is an answer that did not come', () => {
  test.each([403, 404, 500, 502, 503, 504])('%i', async (status) => {
    const { server, sender } = await proxied({ refuse: () => status });
    const answer = await sender.post('https://hook.invalid/', {}, Buffer.from('{}'));
    const detail = `No connection: the egress proxy answered ${status}.`;
    expect(answer).toMatchObject({ status: null, detail, retryAfter: null, remoteAddress: null });
    expect(server.targets).toEqual([`${ELSEWHERE}:443`]);
    await server.idle();
  });

  test('and so is silence after the proxy has taken up the connection', async () => {
    const liar = await startLiar([]);
    onTestFinished(() => liar.close());
    const sender = makeSender({ resolve, proxy: through(`http://127.0.0.1:${liar.port}`), timeoutMs: 300 });
    expect((await post(sender, 'https://hook.invalid/')).status).toBeNull();
    await liar.idle();
  });
});

describe('what is wrong with the proxy is a fault of ours, which no endpoint pays for', () => {
  const attempt = (url: string, over: SenderOptions = {}, connectTimeoutMs?: number) =>
    fault(post(makeSender({ resolve, proxy: through(url, connectTimeoutMs), ...over }), 'https://hook.invalid/'));

  test('it wants a login that there is not, or refuses ours; of which nothing is told', async () => {
    const server = await startProxy({ kind: 'http', account: LOGIN });
    onTestFinished(() => server.close());
    expect((await attempt(`http://127.0.0.1:${server.port}`)).message).toContain(
      'wants a user name and a password (407)',
    );
    const error = await attempt(`http://hunter:hunter%40two@127.0.0.1:${server.port}`);
    expect(error.message).toContain('refuses the user name or the password (407)');
    const told = JSON.stringify([error.message, error.stack, error.fields, String(error.cause)]);
    for (const secret of ['hunter', Buffer.from('hunter:hunter@two').toString('base64').slice(0, 12)]) {
      expect(told).not.toContain(secret);
    }
    expect(error.fields).toEqual({ proxy: `http://127.0.0.1:${server.port}` });
  });

  test.each([
    ['refuses CONNECT', 'HTTP/1.1 405 No\r\n\r\n', 'answered 405'],
    ['sends somewhere else', 'HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n', 'answered 302'],
    ['has too much to do', 'HTTP/1.1 429 Slow down\r\n\r\n', 'answered 429'],
    ['does not speak HTTP', '220 smtp.example.com\r\n', 'gave no answer (HPE_'],
    ['has headers without end', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}`, 'gave no answer (HPE_HEADER_OVERFLOW)'],
    ['closes without an answer', null, 'gave no answer (ECONNRESET)'],
  ])('it %s', async (_how, line, message) => {
    const liar = await startLiar([line]);
    onTestFinished(() => liar.close());
    expect((await attempt(`http://127.0.0.1:${liar.port}`)).message).toContain(message);
    await expect.poll(() => liar.openSockets).toBe(0);
  });

  test('it is not there, or has no address', async () => {
    const server = await startProxy({ kind: 'http' });
    await server.close();
    expect((await attempt(`http://127.0.0.1:${server.port}`)).message).toContain('cannot be reached (ECONNREFUSED)');
    expect((await attempt('http://proxy.invalid:3128', { timeoutMs: 5_000 })).message).toMatch(
      /cannot be reached \((ENOTFOUND|EAI_AGAIN)\)/,
    );
  });

  test('it does not answer: within its own time, and also where the attempt has less', async () => {
    const hole = await openBlackHole('127.0.0.1');
    onTestFinished(() => hole.close());
    const url = `http://127.0.0.1:${hole.port}`;
    expect((await attempt(url, { timeoutMs: 10_000 }, 100)).message).toContain('did not answer within 0.1 s');
    expect((await attempt(url, { timeoutMs: 100 }, 10_000)).message).toContain('did not answer in time');
    // Where an endpoint has several addresses, each has a part of the time.
    const target = { address: ELSEWHERE, port: 443, host: 'hook.invalid' };
    const opening = through(url, 10_000).open(target, AbortSignal.timeout(100));
    expect((await fault(opening)).message).toContain('did not answer in time');
  });

  test('its certificate is not to be trusted', async () => {
    const server = await startProxy({ kind: 'http', tls: certificates.server });
    onTestFinished(() => server.close());
    const { message } = await attempt(`https://localhost:${server.port}`);
    expect(message).toMatch(/cannot be reached \((UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN)\)/);
    expect(server.targets).toEqual([]);
  });

  test('it is left while the service stops, without a socket left behind', async () => {
    const liar = await startLiar([]);
    onTestFinished(() => liar.close());
    const proxy = createEgressProxy(`http://127.0.0.1:${liar.port}`);
    const target = { address: ELSEWHERE, port: 443, host: 'hook.invalid' };
    const opening = fault(proxy.open(target, AbortSignal.timeout(60_000)));
    await expect.poll(() => liar.openSockets).toBe(1);
    proxy.close();
    await opening;
    await liar.idle();
    await fault(proxy.open(target, AbortSignal.timeout(60_000)));
  });
});

test('the requests for access tokens go the same way', async () => {
  const { port } = await serveHttp((_request, response) => response.end('{}'));
  const { server } = await proxied();
  const forms = createFormPost({ resolve, proxy: through(`http://127.0.0.1:${server.port}`), userAgent: 'test' });
  onTestFinished(() => forms.close());
  const ask = (at: number) =>
    forms.post(new URL(`http://login.invalid:${at}/token`), {}, 'a=b', AbortSignal.timeout(5_000));
  expect(await ask(port)).toMatchObject({ status: 200, body: Buffer.from('{}') });
  expect(server.targets).toEqual([`${ELSEWHERE}:${port}`]);
  await server.close();
  await fault(ask(81));
});

test.each([
  ['ftp://proxy.internal', 'no http:// or https:// URL'],
  ['http://', 'no http:// or https:// URL'],
  ['http://ann:hunter2@proxy.internal:99999', 'no http:// or https:// URL'],
  ['http://ann:hunter2@proxy.internal/path', 'something follows'],
  ['http://ann:hunter2@proxy.internal/?q', 'something follows'],
  ['http://ann:hunter#2@proxy.internal', 'no http:// or https:// URL'],
  ['http://ann:hunter2@proxy.internal:0', 'its port is 0'],
  ['http://ann%3a:hunter2@proxy.internal', 'has a colon'],
  ['http://ann:hunter2%zz@proxy.internal', 'percent-encoding'],
])('%s is no proxy, which is said without its login', (url, why) => {
  const refused = expect.objectContaining({ code: 'invalid_config' }) as Error;
  let thrown: unknown;
  expect(() => {
    try {
      createEgressProxy(url);
    } catch (error) {
      thrown = error;
      throw error;
    }
  }).toThrow(refused);
  expect(String(thrown)).toContain(why);
  expect(String(thrown)).not.toContain('hunter');
});

describe.skipIf(!tinyproxyAvailable())('a real proxy (skipped where tinyproxy-bin is not installed)', () => {
  test('opens the tunnel for its login, and says 407 without; what it does not get to is the endpoint', async () => {
    const account = { user: 'ann', password: 'secret' };
    const { port, close } = await serveHttp((request, response) => response.end(request.headers.host));
    const tinyproxy = await startTinyproxy({ account });
    onTestFinished(() => tinyproxy.close());
    const at = (login: string) =>
      makeSender({ proxy: through(`http://${login}127.0.0.1:${tinyproxy.port}`), timeoutMs: 5_000 });
    const url = `http://hook.invalid:${port}/`;
    expect(await post(at('ann:secret@'), url)).toEqual({ status: 200, detail: `hook.invalid:${port}` });
    expect(await tinyproxy.asked()).toEqual([`CONNECT 127.0.0.1:${port}`]);
    expect((await fault(post(at(''), url))).message).toContain('(407)');
    expect((await fault(post(at('ann:wrong@'), url))).message).toContain('egress proxy');
    await close();
    expect(await post(at('ann:secret@'), url)).toEqual({
      status: null,
      detail: 'No connection: the egress proxy answered 500.',
    });
  });

  test('that opens no tunnel to the port says that the endpoint is out of reach', async () => {
    const { port, sockets } = await serveHttp((_request, response) => response.end());
    const tinyproxy = await startTinyproxy({ tunnelPorts: [443] });
    onTestFinished(() => tinyproxy.close());
    const sender = makeSender({ proxy: through(`http://127.0.0.1:${tinyproxy.port}`), timeoutMs: 5_000 });
    expect(await post(sender, `http://hook.invalid:${port}/`)).toEqual({
      status: null,
      detail: 'No connection: the egress proxy answered 403.',
    });
    expect(sockets).toEqual([]);
  });
});
