import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { answerBytesMax, detailCharsMax } from '../../src/webhook/limits.ts';
import { openBlackHole } from '../support/black-hole.ts';
import { LOOPBACK, post, useSender, type Said, type SenderOptions } from './sender-fixture.ts';

/** An attempt that is cut off by its time limit ends in this time, on a busy machine too. */
const BOUND_MS = 3_000;
/** Of one of several steps. */
const SLOW_MS = 400;

const { serveHttp, serveTcp, makeSender } = useSender();

/** A socket that has the request and is to be answered by hand. */
const afterRequest =
  (answer: (socket: Socket) => void) =>
  (socket: Socket): void =>
    void socket.once('data', () => answer(socket));

describe('what an endpoint answers', () => {
  test('the request is one POST of the very bytes, with the headers that were given', async () => {
    const requests: { request: IncomingMessage; body: Buffer }[] = [];
    const { port } = await serveHttp((request, response) => {
      void buffer(request).then((body) => {
        requests.push({ request, body });
        response.writeHead(200).end('thanks');
      });
    });
    expect(await post(makeSender(), `http://hook.example.com:${port}/a?b=c`)).toEqual({
      status: 200,
      detail: 'thanks',
    });
    expect(requests).toHaveLength(1);
    const [{ request, body }] = requests as [(typeof requests)[0]];
    expect(body.toString()).toBe('{"n":1}');
    expect(request).toMatchObject({ method: 'POST', url: '/a?b=c' });
    expect(request.headers).toMatchObject({
      host: `hook.example.com:${port}`,
      'content-type': 'application/json',
      'content-length': '7',
      'user-agent': 'popbridge-test',
      'webhook-id': 'evt_1',
    });
  });

  test.each([204, 299, 400, 410, 500, 503])('status %i is told as it is', async (status) => {
    const { port } = await serveHttp((_request, response) => response.writeHead(status).end());
    expect(await post(makeSender(), `http://127.0.0.1:${port}/`)).toEqual({ status, detail: '' });
  });

  test.each([301, 302, 303, 307, 308])('a redirect (%i) is an answer, and is not followed', async (status) => {
    let requests = 0;
    const { port, sockets } = await serveHttp((request, response) => {
      requests += 1;
      response.writeHead(status, { location: `http://127.0.0.1:${request.socket.localPort}/elsewhere` }).end();
    });
    expect((await post(makeSender(), `http://127.0.0.1:${port}/`)).status).toBe(status);
    expect({ requests, connections: sockets.length }).toEqual({ requests: 1, connections: 1 });
  });

  test('a redirect to the metadata of a cloud is not followed either', async () => {
    const location = 'http://169.254.169.254/latest/meta-data/';
    const { port } = await serveHttp((_request, response) => response.writeHead(307, { location }).end());
    const asked: string[] = [];
    const resolve = async (host: string) => {
      asked.push(host);
      return LOOPBACK;
    };
    expect((await post(makeSender({ resolve }), `http://hook.example.com:${port}/`)).status).toBe(307);
    expect(asked).toEqual(['hook.example.com']);
  });

  test('the beginning of a long error page is quoted, without control characters', async () => {
    const page = `<h1>Down\u0000\u001b[31m</h1>\r\n${'x'.repeat(answerBytesMax * 2)}`;
    const { port } = await serveHttp((_request, response) => response.writeHead(500).end(page));
    const { status, detail } = await post(makeSender(), `http://127.0.0.1:${port}/`);
    expect(status).toBe(500);
    expect(detail).toMatch(/^<h1>Down {2}\[31m<\/h1> {2}x+\.\.\.$/);
    expect(detail).toHaveLength(detailCharsMax + 3);
  });
});

describe('how long each phase took', () => {
  test('is told for a new connection, and for a kept one without those that were not there', async () => {
    const { port } = await serveHttp((_request, response) => response.writeHead(503, { 'retry-after': '7' }).end());
    const sender = makeSender();
    const attempt = () => sender.post(`http://hook.example.com:${port}/`, {}, Buffer.from('{}'));
    const ms = expect.any(Number) as number;
    expect(await attempt()).toEqual({
      status: 503,
      detail: '',
      retryAfter: '7',
      remoteAddress: '127.0.0.1',
      phases: { dnsMs: ms, connectMs: ms, tlsMs: null, firstByteMs: ms, totalMs: ms },
    });
    // undici has the connection back a turn later.
    await setImmediate();
    expect((await attempt()).phases).toEqual({
      dnsMs: null,
      connectMs: null,
      tlsMs: null,
      firstByteMs: ms,
      totalMs: ms,
    });
  });

  test('is told as far as it came, where no answer came', async () => {
    const sender = makeSender({ resolve: () => new Promise(() => {}) });
    const answer = await sender.post('http://hook.example.com/', {}, Buffer.from('{}'), 50);
    expect(answer).toMatchObject({ status: null, remoteAddress: null, phases: { dnsMs: null, firstByteMs: null } });
    expect(answer.detail).toBe('No answer within 0.05 s.');
  });
});

describe('an endpoint that misbehaves costs one attempt, and no more than its time', () => {
  const bounded = async (url: string, over?: SenderOptions): Promise<Said> => {
    const startedAt = performance.now();
    const answer = await post(makeSender({ timeoutMs: 400, ...over }), url);
    expect(performance.now() - startedAt).toBeLessThan(BOUND_MS);
    return answer;
  };
  const TOO_LATE = { status: null, detail: 'No answer within 0.4 s.' };

  test('a name that is never resolved', async () => {
    expect(await bounded('http://hook.example.com/', { resolve: () => new Promise(() => {}) })).toEqual(TOO_LATE);
  });

  test('a connection that is accepted, and a TLS handshake that is never answered', async () => {
    const { port, sockets } = await serveTcp((socket) => void socket.resume());
    expect(await bounded(`https://hook.example.com:${port}/`)).toEqual(TOO_LATE);
    await expect.poll(() => sockets[0]?.closed).toBe(true);
  });

  test('an address that does not answer', async () => {
    const hole = await openBlackHole('127.0.0.1');
    onTestFinished(() => hole.close());
    expect(await bounded(`http://hook.example.com:${hole.port}/`)).toEqual(TOO_LATE);
  });

  test('a name, headers and a body that each stay within the time, and together do not', async () => {
    let asked = 0;
    const { port } = await serveTcp(
      afterRequest((socket) => {
        asked += 1;
        setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nin time'), SLOW_MS);
        socket.on('close', () => clearTimeout(late));
        const late = setTimeout(() => socket.write('!!'), SLOW_MS * 2);
      }),
    );
    const slowly = async () => {
      await sleep(SLOW_MS);
      return LOOPBACK;
    };
    const url = `http://hook.example.com:${port}/`;
    // Two of them fit, and what the body still has to say is not waited for.
    expect(await bounded(url, { resolve: slowly, timeoutMs: SLOW_MS * 2.5 })).toEqual({
      status: 200,
      detail: 'in time',
    });
    expect(await bounded(url, { resolve: slowly, timeoutMs: SLOW_MS * 1.5 })).toEqual({
      status: null,
      detail: `No answer within ${(SLOW_MS * 1.5) / 1000} s.`,
    });
    expect(asked).toBe(2);
  });

  test('a request that is never answered', async () => {
    const { port, sockets } = await serveTcp((socket) => void socket.resume());
    expect(await bounded(`http://127.0.0.1:${port}/`)).toEqual(TOO_LATE);
    await expect.poll(() => sockets[0]?.closed).toBe(true);
  });

  test('headers that come one byte at a time', async () => {
    const { port } = await serveTcp(
      afterRequest((socket) => {
        const timer = setInterval(() => socket.write('X'), 20);
        socket.write('HTTP/1.1 200 OK\r\nX-Slow: ');
        socket.on('close', () => clearInterval(timer));
      }),
    );
    expect(await bounded(`http://127.0.0.1:${port}/`)).toEqual(TOO_LATE);
  });

  test('informational answers without end', async () => {
    const { port } = await serveTcp(
      afterRequest((socket) => {
        const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'), 5);
        socket.on('close', () => clearInterval(timer));
      }),
    );
    expect(await bounded(`http://127.0.0.1:${port}/`)).toEqual(TOO_LATE);
  });

  test.each([
    ['stops coming', 0],
    ['comes one byte at a time', 20],
  ])('a body that %s: the status counts, and what came is quoted', async (_how, everyMs) => {
    const { port, sockets } = await serveTcp(
      afterRequest((socket) => {
        socket.write('HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\nthanks');
        if (everyMs === 0) return;
        const timer = setInterval(() => socket.write('!'), everyMs);
        socket.on('close', () => clearInterval(timer));
      }),
    );
    // Long enough for the status to come on a busy machine.
    const { status, detail } = await bounded(`http://127.0.0.1:${port}/`, { timeoutMs: 1_500 });
    expect(status).toBe(202);
    expect(detail).toMatch(/^thanks!*$/);
    await expect.poll(() => sockets[0]?.closed).toBe(true);
  });

  test('a gigabyte: it is cut off after the bytes that are read at most, at once', async () => {
    let sentBytes = 0;
    const { port, sockets } = await serveTcp(
      afterRequest((socket) => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n');
        const block = Buffer.alloc(65_536, 'x');
        const send = (): void => {
          while (!socket.destroyed && socket.write(block)) sentBytes += block.length;
        };
        socket.on('drain', send);
        send();
      }),
    );
    const answer = await post(makeSender({ timeoutMs: 30_000 }), `http://127.0.0.1:${port}/`);
    expect(answer).toEqual({ status: 200, detail: `${'x'.repeat(detailCharsMax)}...` });
    await expect.poll(() => sockets[0]?.closed).toBe(true);
    // What the two kernels hold, and no more.
    expect(sentBytes).toBeLessThan(32_000_000);
  });

  test.each<[string, (bytes: Buffer) => Buffer]>([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('a bomb packed by %s: its beginning is unpacked, and no more', async (encoding, pack) => {
    const bomb = pack(Buffer.alloc(50_000_000, 'bomb '));
    const { port } = await serveHttp((_request, response) => {
      response.writeHead(500, { 'content-encoding': encoding }).end(bomb);
    });
    const beforeBytes = process.memoryUsage().arrayBuffers;
    const { status, detail } = await bounded(`http://127.0.0.1:${port}/`);
    expect(status).toBe(500);
    expect(detail).toMatch(/^bomb bomb .*\.\.\.$/);
    expect(detail).toHaveLength(detailCharsMax + 3);
    expect(process.memoryUsage().arrayBuffers - beforeBytes).toBeLessThan(10_000_000);
  });

  test('an answer that is not packed as it says is no worse than an empty one', async () => {
    const { port } = await serveHttp((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end('plain');
    });
    expect(await bounded(`http://127.0.0.1:${port}/`)).toEqual({ status: 200, detail: '' });
  });

  test.each([
    ['closes without an answer', (socket: Socket) => socket.end(), /^No answer: UND_ERR_SOCKET\.$/],
    [
      'resets the connection',
      (socket: Socket) => socket.resetAndDestroy(),
      /^No answer: (ECONNRESET|UND_ERR_SOCKET)\.$/,
    ],
    [
      'does not speak HTTP',
      (socket: Socket) => socket.end('220 smtp.example.com\r\n'),
      /^No answer: HTTPParserError\.$/,
    ],
    [
      'has headers without end',
      (socket: Socket) => socket.write(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}`),
      /^No answer: (UND_ERR_HEADERS_OVERFLOW|HPE_HEADER_OVERFLOW)\.$/,
    ],
  ])('one that %s', async (_how, answer, detail) => {
    const { port } = await serveTcp(afterRequest((socket) => void answer(socket)));
    expect(await bounded(`http://127.0.0.1:${port}/`)).toEqual({
      status: null,
      detail: expect.stringMatching(detail) as unknown,
    });
  });

  test('one that is not there', async () => {
    const { port, close } = await serveTcp(() => {});
    await close();
    expect(await bounded(`http://127.0.0.1:${port}/`)).toEqual({ status: null, detail: 'No answer: ECONNREFUSED.' });
  });

  test('attempts that hang keep none to the same host from going out, and end in their own time, each sent once', async () => {
    const ids: string[] = [];
    const { port, sockets } = await serveHttp((request, response) => {
      ids.push(String(request.headers['webhook-id']));
      if (request.url === '/well') response.end();
    });
    const sender = makeSender({ timeoutMs: 2_000 });
    const post = (path: string, id: string) =>
      sender.post(`http://127.0.0.1:${port}${path}`, { 'webhook-id': id }, Buffer.from('{}'));
    const count = 60;
    const hanging = Array.from({ length: count }, (_, number) => post('/hangs', `evt_${number}`));
    expect(await post('/well', 'evt_well')).toMatchObject({ status: 200 });
    const tooLate = { status: null, detail: 'No answer within 2 s.' };
    expect(await Promise.all(hanging)).toMatchObject(Array.from({ length: count }, () => tooLate));
    // The connection of the one that was answered is kept.
    await expect.poll(() => sockets.filter(({ closed }) => !closed).length).toBeLessThanOrEqual(1);
    expect(new Set(ids).size).toBe(ids.length);
  });
});
