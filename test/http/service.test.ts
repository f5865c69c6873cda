import { Redis } from 'ioredis';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startService, type LogLine, type Service } from '../support/service.ts';

const PUBLIC = ['/livez', '/readyz', '/startupz', '/openapi.json'];
const METHODS_BY_PATH: Readonly<Record<string, string>> = {
  '/v1/fetches': 'POST, OPTIONS',
  '/v1/fetches/x': 'GET, HEAD, DELETE, OPTIONS',
  '/v1/fetches/x/messages': 'GET, HEAD, OPTIONS',
  '/v1/messages': 'GET, HEAD, OPTIONS',
  '/v1/messages/x': 'GET, HEAD, DELETE, OPTIONS',
  '/v1/messages/x/ack': 'POST, OPTIONS',
  '/v1/messages/x/links': 'POST, OPTIONS',
  '/v1/messages/x/raw': 'GET, HEAD, OPTIONS',
  '/v1/messages/x/attachments/y': 'GET, HEAD, OPTIONS',
  '/v1/parse': 'POST, OPTIONS',
  '/livez': 'GET, HEAD, OPTIONS',
  '/readyz': 'GET, HEAD, OPTIONS',
  '/startupz': 'GET, HEAD, OPTIONS',
  '/openapi.json': 'GET, HEAD, OPTIONS',
};

let redis: TestRedis;
/** An API alone: what is queued stays queued. */
let service: Service;

beforeAll(async () => {
  redis = await startRedis();
  service = await startService({ redis, env: { POPBRIDGE_ROLE: 'api' } });
});

afterAll(async () => {
  await service?.close();
  await redis?.close();
});

describe('health and contract', () => {
  it('are open to everyone', async () => {
    const [live, ready, started, contract] = await Promise.all(
      PUBLIC.map((path) => service.api('GET', path, { key: null })),
    );
    expect(live!.json()).toEqual({ status: 'ok', checks: {} });
    expect(started!.json()).toEqual({ status: 'ok', checks: { start: 'ok' } });
    expect(ready!.json()).toEqual({ status: 'ok', checks: { redis: 'ok', data: 'ok', shutdown: 'ok' } });
    const yaml = await readFile(new URL('../../openapi/openapi.yaml', import.meta.url), 'utf8');
    expect(contract!.json()).toEqual(parse(yaml));
  });

  it('refuse a query, which none of them has', async () => {
    for (const path of PUBLIC) {
      const { errors } = (await service.api('GET', `${path}?verbose=1`, { key: null })).asProblem();
      expect(errors).toEqual([{ in: 'query', pointer: '/verbose', detail: 'is not known here' }]);
    }
  });

  it('are all that a worker serves, beside the fetching', async () => {
    const worker = await startService({ redis, env: { POPBRIDGE_ROLE: 'worker' } });
    const parts = ['fetchWorker', 'webhookDispatcher', 'mailboxWorker', 'ticker'];
    expect((await worker.api('GET', '/livez')).json()).toEqual({
      status: 'ok',
      checks: Object.fromEntries(parts.map((part) => [part, 'ok'])),
    });
    await eventually(
      () => worker.api('GET', '/startupz'),
      ({ status }) => status === 200,
    );
    expect((await worker.api('GET', '/readyz')).json()).toMatchObject({
      status: 'ok',
      checks: { redis: 'ok', fetchWorker: 'ok', webhookDispatcher: 'ok' },
    });
    const headers = { authorization: `Bearer ${worker.operatorKey}` };
    for (const path of ['/openapi.json', '/v1/fetches', `/v1/fetches/fch_${'0'.repeat(26)}`]) {
      expect((await fetch(worker.url + path, { headers })).status).toBe(404);
    }
    await worker.close();
  });
});

describe('methods', () => {
  it.each(Object.entries(METHODS_BY_PATH))('OPTIONS %s tells them to everyone: %s', async (path, allow) => {
    const answer = await service.api('OPTIONS', path, { key: null });
    expect([answer.status, answer.headers.allow, answer.text]).toEqual([204, allow, '']);
  });

  it('HEAD is answered as GET, without the body', async () => {
    for (const path of PUBLIC) {
      const head = await service.api('HEAD', path, { key: null });
      expect([head.status, head.bytes.length, head.headers['content-type']]).toEqual([200, 0, 'application/json']);
    }
    expect((await service.api('HEAD', '/v1/messages/x', { key: null })).status).toBe(401);
  });

  it('of any other kind are 405, with those that are allowed', async () => {
    for (const [path, allow] of Object.entries(METHODS_BY_PATH)) {
      const answer = await service.api('PUT', path, { key: null });
      expect([answer.status, answer.headers.allow]).toEqual([405, allow]);
    }
  });
});

describe('paths', () => {
  it.each([
    '/',
    '/v1',
    '/v1/fetches/',
    '//v1/fetches',
    '/V1/fetches',
    '/livez/',
    '/livez%00',
    '/v1/fetches/../../etc/passwd',
    '/v1/messages/x/raw/y',
    '/%',
    '/%c0%af',
    '/%E0%A4%A',
    '/__proto__',
    `/${'a'.repeat(16_000)}`,
  ])('%.40s leads nowhere: 404', async (path) => {
    const answer = await service.api('GET', path);
    expect(answer.asProblem()).toMatchObject({ status: 404, code: 'not_found' });
    expect(answer.text.length).toBeLessThan(1000);
  });

  it('may be as long and as broken as they like: the answer stays short', async () => {
    for (const id of ['a'.repeat(16_000), '%'.repeat(5_000), '%00%0d%0a'.repeat(500)]) {
      const answer = await service.api('GET', `/v1/fetches/${id}`);
      expect(answer.asProblem().code).toBe('invalid_request');
      expect(answer.text.length).toBeLessThan(1000);
    }
    const query = await service.api('GET', `/livez?${'q'.repeat(16_000)}=1`);
    expect(query.text.length).toBeLessThan(1000);
  });
});

describe('X-Request-Id', () => {
  it('is on every answer, another on each, and leads to its line in the log', async () => {
    const path = `/v1/fetches/fch_${'z'.repeat(26)}`;
    const headers = { 'x-request-id': 'chosen-by-the-caller' };
    const answers = [
      await service.api('GET', '/openapi.json', { headers }),
      await service.api('GET', path, { headers }),
      await service.api('GET', '/nowhere', { headers }),
      await service.api('PUT', path, { headers }),
      await service.api('OPTIONS', path, { headers }),
      await service.api('GET', path, { headers, key: null }),
    ];
    const ids = answers.map((answer) => answer.headers['x-request-id']);
    expect(new Set(ids).size).toBe(answers.length);
    for (const { status, headers, text } of answers) {
      const requestId = String(headers['x-request-id']);
      expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
      if (status >= 400) expect(JSON.parse(text)).toMatchObject({ requestId });
      const lines = await linesOf(requestId);
      expect(lines).toMatchObject([{ level: 'info', msg: 'Request', status, method: expect.any(String) as string }]);
    }
  });

  it('health probes stay out of the log at its usual level', async () => {
    const probe = await service.api('GET', '/livez');
    const next = await service.api('GET', '/openapi.json');
    await linesOf(String(next.headers['x-request-id']));
    expect(service.logs().map((line) => line['requestId'])).not.toContain(probe.headers['x-request-id']);
  });

  /** The answer may be here before its log line is. */
  const linesOf = (requestId: string): Promise<LogLine[]> =>
    eventually(
      async () => service.logs().filter((line) => line['requestId'] === requestId),
      (lines) => lines.length > 0,
    );
});

it('an API without workers parses and sanitises mail by itself', async () => {
  const headers = { 'content-type': 'message/rfc822' };
  const body = 'Subject: hi\r\nContent-Type: text/html\r\n\r\n<p onclick=x>words</p>';
  const answer = await service.api('POST', '/v1/parse?html=sanitized', { body, headers });
  expect(answer.json()).toMatchObject({ subject: 'hi', html: '<p>words</p>', text: 'words' });
});

describe('DELETE /v1/fetches/{id}', () => {
  it('cancels a fetch that no worker has taken up yet, at once, and its password and job are gone', async () => {
    const source = { host: '127.0.0.1', tls: 'none', username: 'ann', password: 'pw' };
    const { id } = (await service.api('POST', '/v1/fetches', { body: { source } })).asFetch();
    const cancelled = await service.api('DELETE', `/v1/fetches/${id}`);
    expect(cancelled.status).toBe(202);
    expect(cancelled.asFetch()).toMatchObject({ state: 'cancelled', attempts: 0 });
    const inside = new Redis(redis.socketPath);
    const left = await inside.keys(`*${id}*`);
    inside.disconnect();
    expect(left).toEqual([expect.stringMatching(/:fetch$/)]);
    expect((await service.api('DELETE', `/v1/fetches/${id}`)).status).toBe(204);
  });
});
