/** A fetch that is followed by server-sent events: over the real service, and what only a clock of our own can show. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Fetch } from '../../src/fetch/fetch.ts';
import { fetchStreamHandlers, type FetchStreamPorts } from '../../src/http/fetch-stream.ts';
import { heartbeatMs, streamsAtOnceMax } from '../../src/http/limits.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { OPERATOR_KEY, startService, type FetchBody, type Service } from '../support/service.ts';

interface Event {
  event: string;
  data: FetchBody;
}

/** Comments are passed over. */
async function* events(body: AsyncIterable<Uint8Array>): AsyncGenerator<Event> {
  let text = '';
  for await (const chunk of body) {
    text += Buffer.from(chunk).toString();
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
      if (event && data) yield { event, data: JSON.parse(data) as FetchBody };
    }
  }
}

describe('over the real service', () => {
  let service: Service;
  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service?.close());

  const follow = (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`${service.url}${path}`, { headers: { authorization: `Bearer ${OPERATOR_KEY}` }, ...init });

  it('a fetch is told of as it stands at once, when it has changed, and when it has ended', async () => {
    const mails = ['one', 'two'].map((subject) => `Subject: ${subject}\r\n\r\nText.\r\n`);
    // Without pipelining the first is here, and committed, while the second is waited for.
    const server = await startFakePop3({ mails, capabilities: ['UIDL', 'USER'] });
    onTestFinished(() => server.close());
    const held = server.hold('RETR 2');
    const source = { host: '127.0.0.1', port: server.port, tls: 'none', username: 'u', password: 'p' };
    const { id } = (await service.api('POST', '/v1/fetches', { body: { source } })).asFetch();
    await held.reached;
    const response = await follow(`/v1/fetches/${id}/stream`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const seen: Event[] = [];
    for await (const one of events(response.body as unknown as AsyncIterable<Uint8Array>)) {
      seen.push(one);
      if (one.data.counts.retrieved === 1) held.release();
    }
    expect(seen[0]).toMatchObject({ event: 'progress', data: { id, state: 'active' } });
    expect(seen.at(-1)).toMatchObject({ event: 'end', data: { state: 'succeeded', counts: { retrieved: 2 } } });
    expect(seen.map(({ event }) => event).indexOf('end')).toBe(seen.length - 1);
    expect(seen.at(-1)?.data).toEqual((await service.api('GET', `/v1/fetches/${id}`)).json());

    // Of one that has ended there is nothing but the end.
    const whole = await service.api('GET', `/v1/fetches/${id}/stream`);
    expect(whole.text.startsWith('event: end\n')).toBe(true);
    expect(
      (
        await follow(`/v1/fetches/${id}/stream`, {
          method: 'HEAD',
          headers: { authorization: `Bearer ${OPERATOR_KEY}` },
        })
      ).status,
    ).toBe(200);
  });

  it('answers 404 where there is no such fetch, and 401 without a key', async () => {
    const path = `/v1/fetches/fch_${'0'.repeat(26)}/stream`;
    expect((await service.api('GET', path)).status).toBe(404);
    expect((await service.api('GET', path, { key: null })).status).toBe(401);
  });
});

describe('a stream', () => {
  const FETCH = { id: 'fch_1', tenant: 't', state: 'active', source: {}, failures: [], phases: {} } as unknown as Fetch;

  function set(over: Partial<FetchStreamPorts> = {}) {
    const shutdown = new AbortController();
    let nowMs = 0;
    const ports: FetchStreamPorts = {
      fetches: {
        find: async () => FETCH,
        async waitForEnd(_ref, timeoutMs) {
          nowMs += timeoutMs;
          return FETCH;
        },
      },
      webhooks: { summarise: async () => null },
      shutdown: shutdown.signal,
      clock: { now: () => nowMs },
      ...over,
    };
    const { streamFetch } = fetchStreamHandlers(ports);
    const signal = new AbortController().signal;
    const call = { method: 'GET', principal: { tenant: 't' }, path: { fetchId: 'fch_1' }, signal };
    const open = async (): Promise<ReadableStreamDefaultReader<Uint8Array>> => {
      const response = await streamFetch(call as unknown as Parameters<typeof streamFetch>[0]);
      return (response.body as ReadableStream<Uint8Array>).getReader();
    };
    return { shutdown, open, now: () => nowMs };
  }
  const read = async (reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string | null> => {
    const { value } = await reader.read();
    return value === undefined ? null : Buffer.from(value).toString();
  };

  it('of a fetch that does not change says something every fifteen seconds, and ends when the process stops', async () => {
    const { shutdown, open, now } = set();
    const reader = await open();
    expect(await read(reader)).toMatch(/^event: progress\n/);
    expect(await read(reader)).toBe(':\n\n');
    expect(now()).toBeGreaterThanOrEqual(heartbeatMs);
    shutdown.abort();
    for (let left = 100; left > 0; left -= 1) if ((await read(reader)) === null) return;
    expect.unreachable('It goes on');
  });

  it('is refused beside as many as there may be, and makes room when its reader is gone', async () => {
    const { open } = set();
    const readers = [];
    for (let n = 0; n < streamsAtOnceMax; n += 1) {
      const reader = await open();
      await read(reader);
      readers.push(reader);
    }
    await expect(open()).rejects.toMatchObject({ code: 'busy' });
    await readers[0]?.cancel();
    await expect(open()).resolves.toBeDefined();
  });

  it('of a fetch that is deleted ends without a word', async () => {
    const reader = await set({ fetches: { find: async () => FETCH, waitForEnd: async () => null } }).open();
    expect(await read(reader)).toBeNull();
  });
});
