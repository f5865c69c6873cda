import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { makeCertificates, type Certificates, type ServerCertificate } from '../support/certificates.ts';
import { LOOPBACK, post, useSender, type Listening } from './sender-fixture.ts';

const { listen, serveHttp, makeSender } = useSender();

let certificates: Certificates;
beforeAll(async () => {
  certificates = await makeCertificates();
});
afterAll(() => certificates.remove());

describe('where it connects to', () => {
  test('nowhere, when the egress policy refuses: for names and addresses alike', async () => {
    const { port, sockets } = await serveHttp((_request, response) => response.end());
    const asked: [string, number][] = [];
    const sender = makeSender({
      async resolve(host, toPort) {
        asked.push([host, toPort]);
        throw new AppError('egress_blocked', 'Not allowed.');
      },
    });
    for (const host of ['127.0.0.1', '[::1]', 'hook.example.com', '2130706433']) {
      expect(await post(sender, `http://${host}:${port}/`)).toEqual({ status: null, detail: 'Not allowed.' });
    }
    expect(await post(sender, 'https://10.0.0.1/')).toEqual({ status: null, detail: 'Not allowed.' });
    expect(asked).toEqual([
      ['127.0.0.1', port],
      ['::1', port],
      ['hook.example.com', port],
      ['127.0.0.1', port],
      ['10.0.0.1', 443],
    ]);
    expect(sockets).toHaveLength(0);
  });

  test('only the addresses that were checked: a name is asked for once for each connection, and not by anyone else', async () => {
    const { port } = await serveHttp((request, response) => response.end(request.headers.host));
    let asked = 0;
    const sender = makeSender({
      async resolve() {
        asked += 1;
        // The second answer would lead elsewhere; `.invalid` shows that the system's resolver is not asked (RFC 6761).
        return asked === 1 ? LOOPBACK : [{ address: '127.0.0.9', family: 4 }];
      },
    });
    expect(await post(sender, `http://hook.invalid:${port}/`)).toEqual({ status: 200, detail: `hook.invalid:${port}` });
    expect(asked).toBe(1);
  });

  test('a name whose answer changes is checked again when a new connection is made', async () => {
    const { port } = await serveHttp((_request, response) => {
      response.writeHead(200, { connection: 'close' }).end();
    });
    let asked = 0;
    const sender = makeSender({
      async resolve() {
        asked += 1;
        if (asked === 1) return LOOPBACK;
        throw new AppError('egress_blocked', 'Not allowed any more.');
      },
    });
    expect((await post(sender, `http://hook.invalid:${port}/`)).status).toBe(200);
    expect(await post(sender, `http://hook.invalid:${port}/`)).toEqual({
      status: null,
      detail: 'Not allowed any more.',
    });
  });

  test('a connection that is kept is left when it is old: a name that leads elsewhere is followed, one that is not allowed any more is not', async () => {
    const { port, sockets } = await serveHttp((_request, response) => response.end('ok'));
    let isAllowed = true;
    let asked = 0;
    const resolve = async () => {
      asked += 1;
      if (!isAllowed) throw new AppError('egress_blocked', 'Not allowed any more.');
      return LOOPBACK;
    };
    const url = `http://hook.invalid:${port}/`;
    const keeping = makeSender({ resolve });
    const renewing = makeSender({ resolve, ageMsMax: 0 });
    for (const sender of [keeping, renewing]) expect((await post(sender, url)).status).toBe(200);
    await setImmediate();
    isAllowed = false;
    // What it was checked for still holds for the address that it is connected to.
    expect((await post(keeping, url)).status).toBe(200);
    expect(asked).toBe(2);
    expect(await post(renewing, url)).toEqual({ status: null, detail: 'Not allowed any more.' });
    expect(asked).toBe(3);
    // And the old connection is closed, once nothing is under way on it.
    await expect.poll(() => sockets.filter(({ closed }) => !closed).length).toBe(1);
  });

  test('what is under way on an old connection is finished', async () => {
    const slow = Promise.withResolvers<void>();
    const { port } = await serveHttp((request, response) => {
      if (request.url !== '/slow') return void response.end('quick');
      void slow.promise.then(() => response.end('slow'));
    });
    const sender = makeSender({ ageMsMax: 0, timeoutMs: 10_000 });
    const first = post(sender, `http://hook.invalid:${port}/slow`);
    expect(await post(sender, `http://hook.invalid:${port}/`)).toEqual({ status: 200, detail: 'quick' });
    slow.resolve();
    expect(await first).toEqual({ status: 200, detail: 'slow' });
  });

  test('the next address, where the first does not answer', async () => {
    const { port } = await serveHttp((_request, response) => response.end());
    const resolve = async () => [{ address: '127.0.0.77', family: 4 } as const, ...LOOPBACK];
    expect((await post(makeSender({ resolve }), `http://hook.invalid:${port}/`)).status).toBe(200);
  });

  test('no address is no answer', async () => {
    expect(await post(makeSender({ resolve: async () => [] }), 'http://hook.invalid/')).toEqual({
      status: null,
      detail: 'The host has no address.',
    });
  });

  test('a kept connection serves its own origin again, and no other host of the same address', async () => {
    const hosts = new Map<Socket, Set<string | undefined>>();
    const { port, sockets } = await serveHttp((request, response) => {
      hosts.set(request.socket, (hosts.get(request.socket) ?? new Set()).add(request.headers.host));
      response.end('ok');
    });
    const sender = makeSender();
    const names = ['a', 'a', 'b', 'a', 'b', 'b', 'a', 'b'];
    for (const name of names) {
      expect((await post(sender, `http://${name}.invalid:${port}/`)).status).toBe(200);
    }
    expect(sockets.length).toBeLessThan(names.length);
    expect([...hosts.values()].map(({ size }) => size)).toEqual(sockets.map(() => 1));
  });
});

describe('https', () => {
  const trusted = getCACertificates('default');
  afterEach(() => setDefaultCACertificates(trusted));

  async function serveHttps(certificate: ServerCertificate): Promise<Listening & { names: unknown[] }> {
    const names: unknown[] = [];
    const server = createHttpsServer(certificate, (request, response) => {
      names.push((request.socket as TLSSocket).servername, request.headers.host);
      response.end('ok');
    });
    server.on('tlsClientError', () => {});
    return { ...(await listen(server)), names };
  }

  test('an untrusted certificate is no answer, and no byte of the event is sent', async () => {
    const { port, names } = await serveHttps(certificates.server);
    expect(await post(makeSender(), `https://localhost:${port}/`)).toEqual({
      status: null,
      detail: expect.stringMatching(
        /^No answer: (UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN)\.$/,
      ) as unknown,
    });
    expect(names).toEqual([]);
  });

  test.each([
    ['expired', 'CERT_HAS_EXPIRED'],
    ['otherName', 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ] as const)('a trusted authority is not enough: %s', async (which, code) => {
    setDefaultCACertificates([...trusted, certificates.ca]);
    const { port, names } = await serveHttps(certificates[which]);
    for (const host of ['localhost', '127.0.0.1']) {
      expect(await post(makeSender(), `https://${host}:${port}/`)).toEqual({
        status: null,
        detail: `No answer: ${code}.`,
      });
    }
    expect(names).toEqual([]);
  });

  test('the name goes into SNI and Host though the socket goes to a pinned address, and an address is verified as one', async () => {
    setDefaultCACertificates([...trusted, certificates.ca]);
    const { port, names } = await serveHttps(certificates.server);
    expect(await post(makeSender(), `https://localhost:${port}/`)).toEqual({ status: 200, detail: 'ok' });
    expect(await post(makeSender(), `https://127.0.0.1:${port}/`)).toEqual({ status: 200, detail: 'ok' });
    expect(names).toEqual(['localhost', `localhost:${port}`, false, `127.0.0.1:${port}`]);
  });

  test('a name that leads to the address of another is held to its own certificate', async () => {
    setDefaultCACertificates([...trusted, certificates.ca]);
    const { port, names } = await serveHttps(certificates.server);
    expect(await post(makeSender(), `https://hook.example.com:${port}/`)).toEqual({
      status: null,
      detail: 'No answer: ERR_TLS_CERT_ALTNAME_INVALID.',
    });
    expect(names).toEqual([]);
  });
});
