import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { droppedBytesMax, parsesAtOnceMax } from '../../src/http/limits.ts';
import { toPublicMessage } from '../../src/mime/public-message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { eventually, OPERATOR_KEY, type ApiOptions } from '../support/service.ts';
import { startMessageApi, type MessageApi } from './message-api.ts';

const BYTES_MAX = 1024 * 1024;
const rfc822 = { 'content-type': 'message/rfc822' };
const letter = 'From: a@example.org\r\nSubject: hello\r\n\r\nwords';

let service: MessageApi;

beforeAll(async () => {
  service = await startMessageApi({ messageBytesMax: BYTES_MAX });
});
afterAll(() => service.close());

const post = (body: string | Buffer, options: ApiOptions = {}, query = '', to = service) =>
  to.api('POST', `/v1/parse${query}`, { ...options, body, headers: { ...rfc822, ...options.headers } });

describe('200', () => {
  it('is what the parser says of every sandbox mail, and no more', async () => {
    for (const { raw } of sandboxMails()) {
      const answer = await post(raw);
      expect([answer.status, answer.json()]).toEqual([
        200,
        JSON.parse(JSON.stringify(toPublicMessage(await parseMessage(raw)))),
      ]);
    }
  });

  it('comes for bytes that are no message as well, and for none', async () => {
    for (const body of [Buffer.alloc(1000, 0xff), 'no header', '']) {
      const { status, bytes } = await post(body);
      expect([status, JSON.parse(bytes.toString())]).toMatchObject([200, { parse: { status: 'partial' } }]);
    }
  });

  it.each([false, true])('takes a message as large as the service retrieves (chunked: %s)', async (chunked) => {
    const raw = letter.padEnd(BYTES_MAX, 'x');
    expect((await post(raw, { chunked })).json()).toMatchObject({ subject: 'hello', parse: { status: 'ok' } });
  });

  it('?html= goes for it, too', async () => {
    const html = `Content-Type: text/html\r\n\r\n<p onclick=x>Hi</p>`;
    expect((await post(html)).json()).toMatchObject({ html: '<p onclick=x>Hi</p>' });
    expect((await post(html, {}, '?html=sanitized')).json()).toMatchObject({ html: '<p>Hi</p>' });
    expect((await post(html, {}, '?html=none')).json()).toMatchObject({ html: null, htmlOmitted: 'not_wanted' });
    expect((await post(html, {}, '?html=x')).asProblem().code).toBe('invalid_request');
  });

  it('takes the type with parameters and in any case', async () => {
    const headers = { 'content-type': 'Message/RFC822; charset=utf-8' };
    expect((await post(letter, { headers })).status).toBe(200);
  });
});

describe('401, 413, 415', () => {
  it('unauthorized without a key, before the body is looked at', async () => {
    expect((await post(letter, { key: null })).asProblem().code).toBe('unauthorized');
  });

  it.each([false, true])(
    'body_too_large for one byte more than that, and for far more (chunked: %s)',
    async (chunked) => {
      for (const bytes of [BYTES_MAX + 1, BYTES_MAX + 4 * 1024 * 1024]) {
        expect((await post(letter.padEnd(bytes, 'x'), { chunked })).asProblem().code).toBe('body_too_large');
      }
      expect((await post(letter)).status).toBe(200);
    },
  );

  it('body_too_large does not wait for what never ends', async () => {
    const { hostname, port } = new URL(service.url);
    const socket = connect(Number(port), hostname);
    const head = `POST /v1/parse HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${OPERATOR_KEY}\r\nContent-Type: message/rfc822\r\n`;
    socket.write(`${head}Content-Length: ${2 * droppedBytesMax}\r\n\r\n`);
    socket.write(Buffer.alloc(droppedBytesMax + 1));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  it.each(['application/json', 'text/plain', 'message/rfc8222', 'message/global', ''])(
    'unsupported_media_type for %j',
    async (type) => {
      const answer = await post(letter, { headers: { 'content-type': type } });
      expect(answer.asProblem()).toMatchObject({
        status: 415,
        detail: expect.stringContaining('message/rfc822') as string,
      });
    },
  );

  it('unsupported_media_type for a coding that would have to be undone first', async () => {
    const answer = await post(letter, { headers: { 'content-encoding': 'gzip' } });
    expect(answer.asProblem().code).toBe('unsupported_media_type');
    expect((await post(letter, { headers: { 'content-encoding': 'identity' } })).status).toBe(200);
  });
});

describe('many at once', () => {
  const held = `${letter} HOLD`;

  /** A service whose parser waits to be let go where a message says so, what it has begun, and what waits. */
  async function startSlow() {
    const begun: AbortSignal[] = [];
    const waiting: (() => void)[] = [];
    const slow = await startMessageApi({
      messageBytesMax: BYTES_MAX,
      async parse(source, signal) {
        begun.push(signal);
        const raw = await buffer(source);
        if (raw.includes('HOLD')) await new Promise<void>((resolve) => waiting.push(resolve));
        return toPublicMessage(await parseMessage(raw));
      },
    });
    return { slow, begun, waiting };
  }
  const letGo = (waiting: (() => void)[]): void => waiting.splice(0).forEach((go) => go());
  const full = (list: readonly unknown[]) =>
    eventually(
      async () => list.length,
      (length) => length === parsesAtOnceMax,
    );

  it(`no more than ${parsesAtOnceMax} are parsed: another is 503 busy, and taken once there is room again`, async () => {
    const { slow, begun, waiting } = await startSlow();
    const running = Array.from({ length: parsesAtOnceMax }, () => post(held, {}, '', slow));
    await full(waiting);
    for (const body of [letter, letter.padEnd(BYTES_MAX, 'x')]) {
      const refused = await post(body, {}, '', slow);
      expect(refused.asProblem()).toMatchObject({ status: 503, code: 'busy' });
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    }
    expect(begun).toHaveLength(parsesAtOnceMax);
    letGo(waiting);
    for (const { status } of await Promise.all(running)) expect(status).toBe(200);
    expect((await post(letter, {}, '', slow)).status).toBe(200);
    // That is no trouble of ours.
    expect(slow.log()).not.toMatch(/"level":(?:40|50|60)/);
    await slow.close();
  });

  it('a caller who goes away in the middle of the body makes room', async () => {
    const { slow, begun } = await startSlow();
    const calls = Array.from({ length: parsesAtOnceMax }, () => {
      const headers = { ...rfc822, authorization: `Bearer ${OPERATOR_KEY}`, 'content-length': 1000 };
      const call = request(`${slow.url}/v1/parse`, { method: 'POST', headers, agent: false });
      call.on('error', () => {});
      call.write(letter);
      return call;
    });
    await full(begun);
    expect((await post(letter, {}, '', slow)).status).toBe(503);
    for (const call of calls) call.destroy();
    await roomIn(slow);
    expect(slow.log()).not.toMatch(/"level":(?:40|50|60)/);
    await slow.close();
  });

  it('a caller who goes away while it is parsed is told to the parser, and makes room once that is done', async () => {
    const { slow, begun, waiting } = await startSlow();
    const gone = new AbortController();
    const headers = { ...rfc822, authorization: `Bearer ${OPERATOR_KEY}` };
    const calls = Array.from({ length: parsesAtOnceMax }, () =>
      fetch(`${slow.url}/v1/parse`, { method: 'POST', headers, body: held, signal: gone.signal }).catch(() => null),
    );
    await full(waiting);
    gone.abort();
    await Promise.all(calls);
    await eventually(
      async () => begun.filter(({ aborted }) => aborted).length,
      (count) => count === parsesAtOnceMax,
    );
    expect((await post(letter, {}, '', slow)).status).toBe(503);
    letGo(waiting);
    await roomIn(slow);
    expect(slow.log()).not.toMatch(/"level":(?:40|50|60)/);
    await slow.close();
  });

  const roomIn = (slow: MessageApi) =>
    eventually(
      () => post(letter, {}, '', slow),
      ({ status }) => status === 200,
    );

  it('a parser that is being stopped is 503, and not a fault', async () => {
    const stopping = await startMessageApi({
      parse: () => Promise.reject(new AppError('cancelled', 'The service is stopping.')),
    });
    const answer = await post(letter, {}, '', stopping);
    expect(answer.asProblem()).toMatchObject({ status: 503, code: 'busy' });
    await stopping.close();
  });
});
