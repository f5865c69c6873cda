import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bodyBytesMax, violationsMax, waitSecondsMax } from '../../src/http/limits.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startSandboxPop3, type SandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, OPERATOR_KEY, startService, type ApiOptions, type Service } from '../support/service.ts';

const UNKNOWN = `/v1/fetches/fch_${'0'.repeat(26)}`;
const SECRET = 'hunter2-correct-horse';
const WEBHOOK_SECRET = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;

let redis: TestRedis;
let service: Service;
let pop3: SandboxPop3;
/** A connection of the test's own, to see what the service has written. */
let inside: Redis;
let source: { host: string; port: number; tls: 'none'; username: string; password: string };

beforeAll(async () => {
  redis = await startRedis();
  const mails = sandboxMails().map(({ raw }) => raw);
  [service, pop3] = await Promise.all([
    startService({ redis }),
    startSandboxPop3({ user: 'ann', password: 'pw', mails }),
  ]);
  inside = new Redis(redis.socketPath);
  source = { host: pop3.host, port: pop3.port, tls: 'none', username: 'ann', password: 'pw' };
});

afterAll(async () => {
  inside?.disconnect();
  await service?.close();
  await pop3?.close();
  await redis?.close();
});

const post = (body: unknown, options: ApiOptions = {}) => service.api('POST', '/v1/fetches', { body, ...options });

/** Checks that `act` leaves no trace of a fetch behind, and hands out what it says. */
async function withoutTrace<T>(act: () => Promise<T>): Promise<T> {
  // Timers of the queues, and the turns of the tick, come and go by themselves.
  const keys = async (): Promise<string[]> =>
    (await inside.keys('*')).filter((key) => !/:(?:stalled-check|turn)$/.test(key)).toSorted();
  const before = await keys();
  const result = await act();
  expect(await keys()).toEqual(before);
  return result;
}

describe('POST /v1/fetches, 202 and 200', () => {
  it('answers 202 with the place of the fetch, which then runs', async () => {
    const created = await post({ source });
    expect(created.status).toBe(202);
    const { id, state } = created.asFetch();
    expect(state).toBe('queued');
    expect(created.headers.location).toBe(`/v1/fetches/${id}`);
    expect(created.headers['preference-applied']).toBeUndefined();
    const ended = await service.api('GET', created.headers.location!, { headers: { prefer: 'wait=30' } });
    expect(ended.asFetch()).toMatchObject({ id, state: 'succeeded', counts: { listed: 12, retrieved: 12 } });
  });

  it('answers 200 with the outcome when it was asked to wait and the fetch has ended', async () => {
    const ended = await post({ source }, { headers: { prefer: 'wait=30' } });
    expect(ended.status).toBe(200);
    expect(ended.headers['preference-applied']).toBe('wait=30');
    expect(ended.headers.location).toBe(`/v1/fetches/${ended.asFetch().id}`);
    expect(ended.asFetch().state).toBe('succeeded');
  });

  it('answers 202 with the progress when the wait is over before the fetch', async () => {
    const fake = await startFakePop3({ mails: ['Subject: one\r\n\r\n1\r\n'] });
    const hold = fake.hold('RETR');
    const running = await post({ source: { ...source, port: fake.port } }, { headers: { prefer: 'wait=1' } });
    expect(running.status).toBe(202);
    expect(running.asFetch().state).toBe('active');
    const waiting = service.api('GET', running.headers.location!, { headers: { prefer: 'wait=30' } });
    hold.release();
    expect((await waiting).asFetch().state).toBe('succeeded');
    await fake.close();
  });

  it('fills in what was not said, by the contract, and caps the size of a message at what the service is set to', async () => {
    const login = { host: '127.0.0.1', username: 'ann', password: 'pw' };
    const implicit = (await post({ source: login })).asFetch();
    expect(implicit).toMatchObject({
      source: { host: '127.0.0.1', port: 995, tls: 'implicit', username: 'ann' },
      delete: 'never',
      limits: { messages: 10_000, bytes: 1_073_741_824, messageBytes: 52_428_800, seconds: 600 },
      webhook: null,
    });
    const limits = { messageBytes: 1_073_741_824, seconds: 5 };
    const starttls = (await post({ source: { ...login, tls: 'starttls' }, limits })).asFetch();
    expect(starttls.source.port).toBe(110);
    expect(starttls.limits).toMatchObject({ messageBytes: 52_428_800, seconds: 5, messages: 10_000 });
    for (const { id } of [implicit, starttls]) await service.api('DELETE', `/v1/fetches/${id}`);
  });

  it('takes the media type in any case and with parameters', async () => {
    const headers = { 'content-type': 'Application/JSON; charset=utf-8', prefer: 'wait=30' };
    expect((await post({ source }, { headers })).status).toBe(200);
  });
});

describe('Prefer: wait', () => {
  const cases: [prefer: string | string[], applied: string | undefined][] = [
    ['wait=5', 'wait=5'],
    ['WAIT=5', 'wait=5'],
    ['wait="5"', 'wait=5'],
    ['wait = 5', 'wait=5'],
    ['wait=0', 'wait=0'],
    ['respond-async, wait=5', 'wait=5'],
    [['respond-async', 'wait=5'], 'wait=5'],
    ['wait=5; reason=mail, handling=lenient', 'wait=5'],
    ['wait=5, wait=7', 'wait=5'],
    [`wait=${waitSecondsMax + 1}`, `wait=${waitSecondsMax}`],
    ['wait=99999999999999999999', `wait=${waitSecondsMax}`],
    ['wait', undefined],
    ['wait=', undefined],
    ['wait=-1', undefined],
    ['wait=1.5', undefined],
    ['wait=5s', undefined],
    ['wait=soon', undefined],
    ['await=5', undefined],
    ['foo; wait=5', undefined],
    ['return=minimal', undefined],
    [',;="', undefined],
  ];

  it('is read as RFC 7240 has it, capped, and ignored where it makes no sense', async () => {
    const { id } = await service.fetchMail({ source });
    const applied = await Promise.all(
      cases.map(async ([prefer]) => {
        const answer = await service.api('GET', `/v1/fetches/${id}`, { headers: { prefer } });
        expect(answer.status).toBe(200);
        return [prefer, answer.headers['preference-applied']];
      }),
    );
    expect(applied).toEqual(cases);
  });
});

describe('400', () => {
  it.each([
    ['nothing', ''],
    ['half an object', `{"source": {"password": "${SECRET}"`],
    ['what is no JSON', `{'source': "${SECRET}"}`],
    ['JSON in another encoding than UTF-8', Buffer.from('{"source": {"password": "p\xe4ss"}}', 'latin1')],
  ])('invalid_json for a body of %s, without a word of it', async (_, body) => {
    const answer = await withoutTrace(() => post(body));
    expect(answer.asProblem()).toMatchObject({ status: 400, code: 'invalid_json' });
    expect(answer.text).not.toContain(SECRET);
  });

  const wrongBodies: [what: string, body: () => unknown, pointers: string[]][] = [
    ['a list', () => [], ['']],
    ['null', () => null, ['']],
    ['no source', () => ({}), ['/source']],
    [
      'an empty source',
      () => ({ source: {} }),
      ['/source/host', '/source/username', '/source/password', '/source/oauth2', '/source'],
    ],
    ['an empty host', () => ({ source: { ...source, host: '' } }), ['/source/host']],
    ['a host without end', () => ({ source: { ...source, host: 'a'.repeat(254) } }), ['/source/host']],
    ['port 0', () => ({ source: { ...source, port: 0 } }), ['/source/port']],
    ['port 65536', () => ({ source: { ...source, port: 65_536 } }), ['/source/port']],
    ['half a port', () => ({ source: { ...source, port: 110.5 } }), ['/source/port']],
    ['a port as text', () => ({ source: { ...source, port: '110' } }), ['/source/port']],
    ['an unknown TLS mode', () => ({ source: { ...source, tls: 'ssl' } }), ['/source/tls']],
    ['two commands for a user', () => ({ source: { ...source, username: 'a\r\nDELE 1' } }), ['/source/username']],
    ['two commands for a password', () => ({ source: { ...source, password: 'a\nDELE 1' } }), ['/source/password']],
    ['a NUL in the password', () => ({ source: { ...source, password: 'a\0b' } }), ['/source/password']],
    ['a certificate that is none', () => ({ source: { ...source, ca: 'trust me' } }), ['/source/ca']],
    ['a field nobody knows', () => ({ source: { ...source, 'a/b~c': 1 } }), ['/source/a~1b~0c']],
    ['a tenant of its own choice', () => ({ source, tenant: 'other' }), ['/tenant']],
    ['another deletion', () => ({ source, delete: 'all' }), ['/delete']],
    [
      'limits of nothing',
      () => ({ source, limits: { messages: 0, seconds: 0 } }),
      ['/limits/messages', '/limits/seconds'],
    ],
    ['limits nobody knows', () => ({ source, limits: { mails: 1 } }), ['/limits/mails']],
    ['a webhook without secret', () => ({ source, webhook: { url: 'https://example.com/' } }), ['/webhook/secret']],
    ['a relative webhook', () => ({ source, webhook: { url: '/hook', secret: WEBHOOK_SECRET } }), ['/webhook/url']],
    [
      'a short secret',
      () => ({ source, webhook: { url: 'https://example.com/', secret: 'whsec_abc' } }),
      ['/webhook/secret'],
    ],
    [
      'much at once',
      () => ({ source: { host: 1, port: 0, tls: 2, username: 'u', password: {} }, delete: false, more: 1 }),
      ['/source/host', '/source/port', '/source/tls', '/source/password', '/delete', '/more'],
    ],
  ];

  it('invalid_request lists every violation with a pointer, and nothing is accepted', async () => {
    await withoutTrace(async () => {
      for (const [what, body, pointers] of wrongBodies) {
        const { code, errors = [] } = (await post(body())).asProblem();
        expect([what, code]).toEqual([what, 'invalid_request']);
        expect([what, new Set(errors.map(({ pointer }) => pointer))]).toEqual([what, new Set(pointers)]);
        expect(new Set(errors.map((error) => error.in))).toEqual(new Set(['body']));
      }
    });
  });

  it('never repeats a value, neither in the answer nor in the log', async () => {
    const bodies = [
      { source: { ...source, password: { value: SECRET } } },
      { source: { ...source, password: [SECRET] } },
      { source: { ...source, password: `${SECRET}\r\n` } },
      { source: { ...source, password: SECRET.repeat(20) } },
      { source: { ...source, tls: SECRET } },
      { source: SECRET },
      { source, delete: SECRET, limits: SECRET },
      { source, webhook: { url: `https://${SECRET}`, secret: SECRET } },
      SECRET,
    ];
    for (const body of bodies) {
      const { status, text, headers } = await post(JSON.stringify(body));
      expect(status).toBe(400);
      expect(text + JSON.stringify(headers)).not.toContain(SECRET);
    }
    // The log comes through a pipe of its own: what these have left there is there when the line of the next one is.
    const { headers } = await service.api('GET', UNKNOWN);
    await eventually(
      async () => service.output().stdout,
      (log) => log.includes(String(headers['x-request-id'])),
    );
    expect(service.output().stdout + service.output().stderr).not.toContain(SECRET);
  });

  it(`lists ${violationsMax} violations at most, and says how many there are`, async () => {
    const unknown = Object.fromEntries(Array.from({ length: violationsMax + 10 }, (_, i) => [`field${i}`, i]));
    const { errors, detail } = (await post({ source, ...unknown })).asProblem();
    expect(errors).toHaveLength(violationsMax);
    expect(detail).toContain(`and ${violationsMax + 9} more`);
  });

  it.each([
    'fch_1',
    'msg_00000000000000000000000000000000',
    `fch_${'0'.repeat(27)}`,
    '%2e%2e%2f',
    '%00',
    '%E0%A4%A',
    '%',
  ])('invalid_request for %s, which is no id of a fetch', async (id) => {
    for (const method of ['GET', 'DELETE']) {
      const { code, errors } = (await service.api(method, `/v1/fetches/${id}`)).asProblem();
      expect(code).toBe('invalid_request');
      expect(errors).toEqual([{ in: 'path', pointer: '/fetchId', detail: expect.any(String) as string }]);
    }
  });

  it('invalid_request for a query parameter that is not known, or given twice', async () => {
    for (const [query, pointer] of [
      ['wait=5', '/wait'],
      ['%ff=1', '/%ff'],
    ] as const) {
      const { errors } = (await service.api('GET', `${UNKNOWN}?${query}`)).asProblem();
      expect(errors).toEqual([{ in: 'query', pointer, detail: 'is not known here' }]);
    }
    const twice = (await service.api('GET', `${UNKNOWN}/messages?limit=1&limit=2`)).asProblem();
    expect(twice.errors).toMatchObject([{ in: 'query', pointer: '/limit' }]);
  });
});

describe('401', () => {
  it.each([
    ['no key', null, {}],
    ['a wrong key', 'test-operator-key-9876543210', {}],
    ['the key and more', `${OPERATOR_KEY}x`, {}],
    ['another scheme', null, { authorization: `Basic ${Buffer.from(`:${OPERATOR_KEY}`).toString('base64')}` }],
    ['a scheme alone', null, { authorization: 'Bearer' }],
    ['the key alone', null, { authorization: OPERATOR_KEY }],
    ['two keys', null, { authorization: `Bearer ${OPERATOR_KEY} ${OPERATOR_KEY}` }],
  ])('unauthorized for %s, before anything else is looked at', async (_, key, headers) => {
    const calls: [method: string, path: string, body?: string][] = [
      ['POST', '/v1/fetches', 'no JSON'],
      ['GET', UNKNOWN],
      ['DELETE', UNKNOWN],
      ['GET', `${UNKNOWN}/messages?limit=0`],
      ['GET', '/v1/fetches/nonsense'],
    ];
    for (const [method, path, body] of calls) {
      const answer = await service.api(method, path, { key, headers, ...(body && { body }) });
      expect(answer.asProblem()).toMatchObject({ status: 401, code: 'unauthorized' });
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer /);
      expect(answer.text).not.toContain(OPERATOR_KEY);
    }
  });

  it('does not come for the right key with the scheme in another case', async () => {
    const headers = { authorization: `bearer ${OPERATOR_KEY}` };
    expect((await service.api('GET', UNKNOWN, { key: null, headers })).status).toBe(404);
  });
});

describe('404, 405, 413, 415, 422', () => {
  it('not_found for a fetch that is not there', async () => {
    for (const [method, path] of [
      ['GET', UNKNOWN],
      ['DELETE', UNKNOWN],
      ['GET', `${UNKNOWN}/messages`],
    ] as const) {
      expect((await service.api(method, path)).asProblem()).toMatchObject({ status: 404, code: 'not_found' });
    }
  });

  it.each([
    ['PUT', '/v1/fetches', 'POST, OPTIONS'],
    ['GET', '/v1/fetches', 'POST, OPTIONS'],
    ['HEAD', '/v1/fetches', 'POST, OPTIONS'],
    ['PATCH', UNKNOWN, 'GET, HEAD, DELETE, OPTIONS'],
    ['POST', `${UNKNOWN}/messages`, 'GET, HEAD, OPTIONS'],
    ['TRACE', UNKNOWN, 'GET, HEAD, DELETE, OPTIONS'],
  ])('method_not_allowed for %s %s, with what is', async (method, path, allow) => {
    const answer = await service.api(method, path);
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe(allow);
  });

  const padded = (bytes: number): string => JSON.stringify({ source }).padEnd(bytes, ' ');

  it.each([false, true])(`takes a body of ${bodyBytesMax} bytes and no more (chunked: %s)`, async (chunked) => {
    const taken = await post(padded(bodyBytesMax), { chunked });
    expect(taken.status).toBe(202);
    const refused = await withoutTraceOf(taken.asFetch().id, () => post(padded(bodyBytesMax + 1), { chunked }));
    expect(refused.asProblem()).toMatchObject({ status: 413, code: 'body_too_large' });
  });

  it.each([false, true])('answers a body that is far too large, too (chunked: %s)', async (chunked) => {
    const answer = await post(padded(8 * 1024 * 1024), { chunked });
    expect(answer.asProblem().code).toBe('body_too_large');
  });

  it.each([
    ['text/plain', 'text/plain'],
    ['a form', 'application/x-www-form-urlencoded'],
    ['what only begins like JSON', 'application/jsonp'],
    ['a problem', 'application/problem+json'],
    ['nothing', ''],
  ])('unsupported_media_type for %s', async (_, type) => {
    const answer = await withoutTrace(() => post({ source }, { headers: { 'content-type': type } }));
    expect(answer.asProblem()).toMatchObject({ status: 415, code: 'unsupported_media_type' });
  });

  it('egress_blocked for a mail server or a webhook where the policy allows none, and nothing is accepted', async () => {
    const webhook = (url: string) => ({ source, webhook: { url, secret: WEBHOOK_SECRET } });
    const bodies = [
      { source: { ...source, host: '10.0.0.1', port: 110 } },
      { source: { ...source, host: '169.254.169.254' } },
      { source: { ...source, host: 'not a host', port: 110 } },
      webhook('http://192.168.0.1/hook'),
      webhook('https://metadata.google.internal/'),
      webhook(`https://user:${SECRET}@example.com/`),
    ];
    await withoutTrace(async () => {
      for (const body of bodies) {
        const answer = await post(body);
        expect(answer.asProblem()).toMatchObject({ status: 422, code: 'egress_blocked' });
        expect(answer.text).not.toContain(SECRET);
      }
    });
  });

  /** As `withoutTrace`, while another fetch may still be at work. */
  async function withoutTraceOf<T>(id: string, act: () => Promise<T>): Promise<T> {
    await service.api('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=30' } });
    const records = (await inside.keys('*:fetch')).sort();
    const result = await act();
    expect((await inside.keys('*:fetch')).sort()).toEqual(records);
    return result;
  }
});

describe('DELETE /v1/fetches/{id}', () => {
  it('cancels a fetch that runs, and deletes one that has ended, with its messages', async () => {
    const fake = await startFakePop3({ mails: ['Subject: one\r\n\r\n1\r\n', 'Subject: two\r\n\r\n2\r\n'] });
    const hold = fake.hold('RETR 2');
    const { id } = (await post({ source: { ...source, port: fake.port } })).asFetch();
    const path = `/v1/fetches/${id}`;
    await hold.reached;

    expect((await service.api('DELETE', path)).status).toBe(202);
    const ended = (await service.api('GET', path, { headers: { prefer: 'wait=30' } })).asFetch();
    expect(ended).toMatchObject({ state: 'cancelled', counts: { retrieved: 1 } });
    const [message] = await service.listMessages(id);
    expect(message?.subject).toBe('one');

    const deleted = await service.api('DELETE', path);
    expect([deleted.status, deleted.bytes.length]).toEqual([204, 0]);
    for (const gone of [path, `${path}/messages`, `/v1/messages/${message!.id}`, `/v1/messages/${message!.id}/raw`]) {
      expect((await service.api('GET', gone)).status).toBe(404);
    }
    expect((await service.api('DELETE', path)).status).toBe(404);
    hold.release();
    await fake.close();
  });
});
