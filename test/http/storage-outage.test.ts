import { afterAll, beforeAll, expect, it } from 'vitest';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startSandboxPop3, type SandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startService, type Service } from '../support/service.ts';

let redis: TestRedis;
let service: Service;
let pop3: SandboxPop3;

beforeAll(async () => {
  redis = await startRedis();
  const mails = [sandboxMails()[0]!.raw];
  [service, pop3] = await Promise.all([
    startService({ redis }),
    startSandboxPop3({ user: 'ann', password: 'pw', mails }),
  ]);
});

afterAll(async () => {
  await service?.close();
  await pop3?.close();
  await redis?.close();
});

it('while Redis is away everything that needs it is 503 at once, and all is well again when Redis is back', async () => {
  const source = { host: pop3.host, port: pop3.port, tls: 'none', username: 'ann', password: 'pw' } as const;
  const before = await service.fetchMail({ source });
  const [message] = await service.listMessages(before.id);

  await redis.kill();
  const calls: [method: string, path: string, body?: unknown][] = [
    ['POST', '/v1/fetches', { source }],
    ['GET', `/v1/fetches/${before.id}`],
    ['DELETE', `/v1/fetches/${before.id}`],
    ['GET', `/v1/fetches/${before.id}/messages`],
    ['GET', `/v1/messages/${message!.id}`],
    ['GET', `/v1/messages/${message!.id}/raw`],
    ['GET', '/v1/messages'],
    ['POST', `/v1/messages/${message!.id}/ack`],
    ['POST', `/v1/messages/${message!.id}/links`, {}],
    ['DELETE', `/v1/messages/${message!.id}`],
  ];
  for (const [method, path, body] of calls) {
    const fromMs = performance.now();
    const answer = await service.api(method, path, { body, headers: { prefer: 'wait=30' } });
    expect(performance.now() - fromMs).toBeLessThan(1000);
    expect(answer.asProblem()).toMatchObject({ status: 503, code: 'storage_unavailable' });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  }
  const ready = await service.api('GET', '/readyz');
  expect([ready.status, ready.json()]).toMatchObject([503, { status: 'unavailable', checks: { shutdown: 'ok' } }]);
  expect((await service.api('GET', '/livez')).status).toBe(200);
  // What is refused for its form needs no Redis.
  expect((await service.api('POST', '/v1/fetches', { body: {} })).status).toBe(400);
  expect((await service.api('GET', `/v1/fetches/${before.id}`, { key: null })).status).toBe(401);
  // Nor does what is not kept.
  const headers = { 'content-type': 'message/rfc822' };
  expect((await service.api('POST', '/v1/parse', { body: 'Subject: x\r\n\r\n', headers })).status).toBe(200);
  expect(await service.logged('Request failed for want of storage')).toMatchObject({ level: 'warn' });

  await redis.restart();
  await eventually(
    () => service.api('GET', '/readyz'),
    ({ status }) => status === 200,
  );
  expect((await service.api('GET', `/v1/fetches/${before.id}`)).asFetch()).toEqual(before);
  const after = await service.fetchMail({ source });
  expect(after.state).toBe('succeeded');
  expect((await service.listMessages(after.id)).map(({ id }) => id)).toEqual([message!.id]);
});

it('a caller who waits when Redis goes is answered 503 too, rather than left to wait', async () => {
  const service = await startService({ redis, env: { POPBRIDGE_ROLE: 'api' } });
  const source = { host: '127.0.0.1', tls: 'none', username: 'ann', password: 'pw' };
  const { id } = (await service.api('POST', '/v1/fetches', { body: { source } })).asFetch();
  const waiting = service.api('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=60' } });
  await redis.kill();
  const fromMs = performance.now();
  expect((await waiting).asProblem().code).toBe('storage_unavailable');
  expect(performance.now() - fromMs).toBeLessThan(5_000);
  await redis.restart();
  await service.close();
});
