/** What popbridge demands of a Redis: the start on one that would lose what it is given is refused, with what to do. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { startWebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { startAlone, startCluster } from '../support/redis-nodes.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { send, startService, type Service } from '../support/service.ts';

interface Place {
  redis: TestRedis;
  inside: Redis;
}

async function place(): Promise<Place> {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const inside = new Redis(redis.socketPath);
  onTestFinished(() => inside.disconnect());
  return { redis, inside };
}

async function start({ redis }: Place, env: Record<string, string> = {}): Promise<Service> {
  const service = await startService({ redis, env });
  onTestFinished(() => service.close());
  return service;
}

it('one that drops keys when it is full is refused, in every role', async () => {
  const where = await place();
  await where.inside.config('SET', 'maxmemory-policy', 'allkeys-lru');
  for (const role of ['all', 'api', 'worker']) {
    await expect(start(where, { POPBRIDGE_ROLE: role })).rejects.toThrow(
      /Redis is set to drop keys .*allkeys-lru.*Set maxmemory-policy to noeviction/,
    );
  }
  await where.inside.config('SET', 'maxmemory-policy', 'noeviction');
  await start(where);
}, 90_000);

it('one that keeps no append-only file is refused, unless that is meant so', async () => {
  const where = await place();
  await where.inside.config('SET', 'appendonly', 'no');
  await expect(start(where)).rejects.toThrow(
    /Redis keeps no append-only file: .*Set "appendonly yes", or POPBRIDGE_REDIS_ALLOW_VOLATILE=true/,
  );
  const service = await start(where, { POPBRIDGE_REDIS_ALLOW_VOLATILE: 'true' });
  expect(service.logs().map(({ level, msg }) => `${level} ${msg}`)).toContainEqual(
    expect.stringMatching(/^warn Redis keeps no append-only file/),
  );
}, 90_000);

it('one that is too old is refused, with its version and what is needed', async () => {
  const where = await place();
  const version = /redis_version:(\d+)(\.\S+)/.exec(await where.inside.info('server'));
  const [said = '', , rest = ''] = version ?? [];
  // Of the same length, as the answer says how long it is.
  const old = `redis_version:${'5'.padEnd(said.length - rest.length - 'redis_version:'.length, '0')}${rest}`;
  const port = await startProxy(where.redis.socketPath, said, old);
  await expect(start(where, { REDIS_URL: `redis://127.0.0.1:${port}` })).rejects.toThrow(
    /Redis is version 5\.\S+, and 6\.2 is needed at least .*Update it, or use Valkey/,
  );
}, 60_000);

it.each([
  ['one server', startAlone, ''],
  ['a Redis Cluster', startCluster, ' +cluster'],
] as const)(
  'a user who may do no more than the README says fetches, deletes upstream and delivers, on %s',
  async (_, open, more) => {
    const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
    const rules = /ACL SETUSER popbridge on >\S+ ([^`]+)`/.exec(readme)?.[1] ?? '';
    expect(readme).toContain('in a cluster `+cluster`');
    const group = await open();
    onTestFinished(() => group.close());
    const allowed = `${rules}${more}`.split(' ');
    for (const { client } of group.nodes)
      await client.call('ACL', 'SETUSER', 'popbridge', 'on', '>acl-password', ...allowed);
    const receiver = await startWebhookReceiver();
    onTestFinished(() => receiver.close());
    const server = await startFakePop3({ mails: ['Subject: one\r\n\r\n1\r\n', 'Subject: two\r\n\r\n2\r\n'] });
    onTestFinished(() => server.close());

    const url = group.env['REDIS_URL'] ?? '';
    const service = await startService({
      redis: {
        env: { ...group.env, REDIS_URL: url.replaceAll('redis://', 'redis://popbridge:acl-password@') },
      },
      env: { POPBRIDGE_METRICS_PORT: '0' },
    });
    onTestFinished(() => service.close());
    await service.ready();
    await service.api('POST', '/v1/webhooks', { body: { url: receiver.url, events: ['message.received'] } });
    const source = { host: server.host, port: server.port, tls: 'none', username: 'u', password: 'p' };
    const made = await service.api('POST', '/v1/mailboxes', {
      body: { source, delete: 'stored', schedule: { every: '1h' } },
    });
    const { id } = made.json() as { id: string };
    await service.api('POST', `/v1/mailboxes/${id}/fetches`, { headers: { prefer: 'wait=30' } });
    await receiver.waitFor(2, 30_000);
    expect(server.mails).toEqual([]);
    expect((await service.api('GET', '/v1/messages')).asPage().items).toHaveLength(2);
    const metrics = (await service.logged('Metrics served')) as unknown as { url: string };
    const served = (await send(metrics.url, 'GET', '/metrics', {})).bytes.toString();
    expect(served).toContain('popbridge_redis_up 1');
    expect(served).toMatch(/popbridge_redis_memory_bytes [1-9]/);
    for (const { client } of group.nodes) expect(await client.call('ACL', 'LOG'), 'nothing was refused').toEqual([]);
    expect(service.logs().filter(({ level }) => ['warn', 'error', 'fatal'].includes(level))).toEqual([]);
    expect(service.output().stdout).not.toContain('acl-password');
  },
  120_000,
);

/** Before the server, putting another text in the place of one in its answers, each of which is taken to come in one piece. */
async function startProxy(socketPath: string, said: string, instead: string): Promise<number> {
  const server = createServer((client) => {
    const upstream = connect(socketPath);
    const rewrite = new Transform({
      transform: (chunk: Buffer, _, done) => done(null, chunk.toString('latin1').replace(said, instead)),
    });
    pipeline(client, upstream).catch(() => undefined);
    pipeline(upstream, rewrite, client).catch(() => undefined);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}
