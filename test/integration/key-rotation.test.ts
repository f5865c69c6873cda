/** Master keys are replaced by others while a service is in use, as the README says it is done; and what a key that is missing takes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { createCredentialStore } from '../../src/mailbox/credentials.ts';
import { createMailboxStore } from '../../src/mailbox/mailbox-store.ts';
import type { Mailbox } from '../../src/mailbox/mailbox.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';
import type { Webhook } from '../../src/webhook/webhook.ts';
import { createWebhookStore } from '../../src/webhook/webhook-store.ts';
import { createFetchWebhooks } from '../../src/webhook/fetch-webhooks.ts';
import { webhookOfFetch } from '../../src/identity.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { OPERATOR_KEY, startService, type FetchBody, type Service } from '../support/service.ts';

const key = (id: string): string => `${id}:${randomBytes(32).toString('base64')}`;
const [OLD, NEW, OTHER] = [key('old'), key('new'), key('other')];

interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(args: readonly string[], env: Record<string, string>) {
  const child = spawn(process.execPath, ['src/main.ts', ...args], {
    env: { PATH: process.env['PATH'], POPBRIDGE_OPERATOR_KEY: OPERATOR_KEY, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const child = start(args, env);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: code as number | null, stdout, stderr };
}

async function redisServer(): Promise<TestRedis> {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  return redis;
}

const urlOf = ({ socketPath }: TestRedis): string => `redis://localhost?path=${socketPath}`;

const mail = (n: number) => ({ uidl: `u${n}`, raw: Buffer.from(`Subject: mail ${n}\r\n\r\nText ${n}.\r\n`) });

it('everything opens under the new key alone once `keys rotate` was run, and nothing is lost where a key is missing', async () => {
  const redis = await redisServer();
  const server = await startFakePop3({ mails: [mail(1)], account: { user: 'u', password: 'pw-1' } });
  onTestFinished(() => server.close());
  const dataDir = await mkdtemp(join(tmpdir(), 'popbridge-rotation-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));

  async function serving<T>(keys: string, work: (service: Service) => Promise<T>): Promise<T> {
    const service = await startService({ redis, dataDir, env: { POPBRIDGE_MASTER_KEYS: keys } });
    try {
      return await work(service);
    } finally {
      await service.close();
    }
  }
  const fetchNow = async (service: Service, id: string): Promise<FetchBody> =>
    (await service.api('POST', `/v1/mailboxes/${id}/fetches`, { headers: { prefer: 'wait=5' } })).json() as FetchBody;
  const keysOf = async (keys: string) => {
    const { code, stdout } = await run(['keys', 'list', '--json'], {
      REDIS_URL: urlOf(redis),
      POPBRIDGE_DATA_DIR: dataDir,
      POPBRIDGE_MASTER_KEYS: keys,
    });
    return { code, keys: (JSON.parse(stdout) as { keys: unknown }).keys };
  };

  const source = { host: '127.0.0.1', port: server.port, tls: 'none', username: 'u', password: 'pw-1' };
  const { id, messageId } = await serving(OLD, async (service) => {
    const created = (await service.api('POST', '/v1/mailboxes', { body: { source } })).json() as { id: string };
    const fetch = await fetchNow(service, created.id);
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
    const [message] = await service.listMessages(fetch.id);
    return { id: created.id, messageId: message?.id ?? '' };
  });
  expect(await keysOf(`${NEW},${OLD}`)).toMatchObject({
    code: 0,
    keys: [
      { id: 'new', role: 'seals', mailboxes: 0, dataKeys: 0 },
      { id: 'old', role: 'opens', mailboxes: 1, dataKeys: 1 },
    ],
  });
  // Who took the old key away too early is told, and finds all as it was.
  expect(await keysOf(NEW)).toMatchObject({ code: 2, keys: [{ id: 'new' }, { id: 'old', role: 'missing' }] });

  // While the service runs, which seals under the new one by now.
  const rotated = await serving(`${NEW},${OLD}`, () =>
    run(['keys', 'rotate'], {
      REDIS_URL: urlOf(redis),
      POPBRIDGE_DATA_DIR: dataDir,
      POPBRIDGE_MASTER_KEYS: `${NEW},${OLD}`,
    }),
  );
  expect(rotated, rotated.stderr).toMatchObject({ code: 0 });
  expect(rotated.stdout).toContain('Nothing needs these keys any more: old.');
  expect(await keysOf(`${NEW},${OLD}`)).toMatchObject({
    keys: [
      { mailboxes: 1, dataKeys: 1 },
      { mailboxes: 0, dataKeys: 0 },
    ],
  });
  // Wherever it lies: a place that the command does not know would show here.
  const stored = new Redis(redis.url);
  onTestFinished(() => stored.disconnect());
  expect(await keysThatHold(stored, 'v1.old.')).toEqual([]);
  expect(await keysThatHold(stored, 'v1.new.')).not.toEqual([]);

  await serving(OTHER, async (service) => {
    const fetch = await fetchNow(service, id);
    expect(fetch).toMatchObject({ error: { code: 'credentials_unavailable' } });
    expect(JSON.stringify(fetch.error)).toContain('\\"new\\"');
    const mailbox = (await service.api('GET', `/v1/mailboxes/${id}`)).json();
    expect(mailbox).not.toMatchObject({ state: 'needs_credentials' });
    expect((await service.api('GET', `/v1/messages/${messageId}`)).status).toBeGreaterThanOrEqual(500);
  });
  await serving(NEW, async (service) => {
    expect((await service.api('GET', `/v1/messages/${messageId}`)).asMessage()).toMatchObject({ subject: 'mail 1' });
    expect((await service.api('GET', `/v1/messages/${messageId}/raw`)).text).toContain('Text 1.');
    server.mails = [mail(1), mail(2)];
    expect(await fetchNow(service, id)).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
  });
}, 180_000);

it('the steps of the README, with an API and a worker that are restarted one after the other: nothing fails at any of them', async () => {
  const redis = await redisServer();
  const server = await startFakePop3({ mails: [mail(1)], account: { user: 'u', password: 'pw-1' } });
  onTestFinished(() => server.close());
  const dataDir = await mkdtemp(join(tmpdir(), 'popbridge-rotation-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  const source = { host: '127.0.0.1', port: server.port, tls: 'none', username: 'u', password: 'pw-1' };

  let api: Service | undefined;
  let worker: Service | undefined;
  const serve = (role: 'api' | 'worker', keys: string): Promise<Service> =>
    startService({ redis, dataDir, env: { POPBRIDGE_ROLE: role, POPBRIDGE_MASTER_KEYS: keys } });
  onTestFinished(async () => {
    await worker?.close();
    await api?.close();
  });
  let mailbox = '';
  let link = '';
  let mails = 0;
  const messages: string[] = [];
  /** New mail comes, by the mailbox of before and by a fetch with credentials of its own, and all of before is read. */
  async function expectAllWell(): Promise<void> {
    mails += 1;
    server.mails = Array.from({ length: mails }, (_, n) => mail(n + 1));
    const headers = { prefer: 'wait=30' };
    const fetch = (await api!.api('POST', `/v1/mailboxes/${mailbox}/fetches`, { headers })).asFetch();
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
    messages.push(...(await api!.listMessages(fetch.id)).map(({ id }) => id));
    for (const [n, id] of messages.entries()) {
      expect((await api!.api('GET', `/v1/messages/${id}`)).asMessage().subject).toBe(`mail ${n + 1}`);
      expect((await api!.api('GET', `/v1/messages/${id}/raw`)).text).toContain(`Text ${n + 1}.`);
    }
    const inline = await api!.api('POST', '/v1/fetches', { headers, body: { source } });
    expect(inline.asFetch()).toMatchObject({ state: 'succeeded' });
  }
  const openLink = async (): Promise<number> => (await api!.api('GET', link, { key: null })).status;
  /** The API first: it seals what the worker, which is not there yet, has to open. */
  async function restart(keys: string): Promise<void> {
    await api?.close();
    api = await serve('api', keys);
    if (worker) await expectAllWell();
    await worker?.close();
    worker = await serve('worker', keys);
    if (mailbox) await expectAllWell();
  }

  await restart(OLD);
  const created = await api!.api('POST', '/v1/mailboxes', { body: { source } });
  mailbox = (created.json() as { id: string }).id;
  await expectAllWell();
  const made = await api!.api('POST', `/v1/messages/${messages[0]}/links`, { body: {} });
  link = (made.json() as { raw: string }).raw;

  const generated = (await run(['keys', 'generate', '--id', 'next'])).stdout.trim();
  await restart(`${OLD},${generated}`);
  await restart(`${generated},${OLD}`);
  expect(await openLink()).toBe(200);
  const env = { REDIS_URL: urlOf(redis), POPBRIDGE_DATA_DIR: dataDir, POPBRIDGE_MASTER_KEYS: `${generated},${OLD}` };
  const rotated = await run(['keys', 'rotate'], env);
  expect(rotated, rotated.stderr).toMatchObject({ code: 0 });
  expect(rotated.stdout).toContain('Nothing needs these keys any more: old.');
  await expectAllWell();
  await restart(generated);
  expect(await openLink(), 'links that the old key has signed end with it').toBeGreaterThanOrEqual(400);
  const stored = new Redis(redis.url);
  onTestFinished(() => stored.disconnect());
  expect(await keysThatHold(stored, 'v1.old.')).toEqual([]);
}, 300_000);

/** Strings and hashes; nothing sealed is elsewhere. */
async function keysThatHold(redis: Redis, part: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await redis.keys('pb:*')) {
    const type = await redis.type(name);
    const value =
      type === 'string'
        ? await redis.getBuffer(name)
        : type === 'hash'
          ? Buffer.concat(Object.values(await redis.hgetallBuffer(name)))
          : null;
    if (value?.includes(part)) found.push(name);
  }
  return found;
}

it('a rotation that is killed on its way is gone on with by the next, and one that cannot open something says so', async () => {
  const redis = await redisServer();
  const client = new Redis(redis.url);
  onTestFinished(() => client.disconnect());
  const MAILBOXES = 3_000;
  const store = createMailboxStore(client, createSealer(OLD));
  const settings = (n: number) => ({ source: { host: 'pop.example', port: 995, username: `u${n}` } });
  const refOf = (n: number) => ({ tenant: 'default', mailbox: `mbx_${n}` });
  await Promise.all(
    Array.from({ length: MAILBOXES }, (_, n) =>
      store.create({ ...refOf(n), settings: settings(n), status: {} } as Mailbox, {
        type: 'password',
        password: `pw-${n}`,
      }),
    ),
  );
  const lost = { tenant: 'default', mailbox: 'mbx_lost' };
  await createMailboxStore(client, createSealer(OTHER)).create(
    { ...lost, settings: settings(MAILBOXES), status: {} } as Mailbox,
    { type: 'password', password: 'x' },
  );
  const fetch = { tenant: 'default', id: 'fch_1' };
  const webhook = { url: 'https://example.com', secret: 'whsec_x' };
  const password = { type: 'password', password: 'inline' } as const;
  await createFetchWebhooks(client, createSealer(OLD)).register(fetch, webhook, 3_600_000);
  await createCredentialStore(client, createSealer(OLD), 3_600_000).put(fetch, password);
  const subscribed = { tenant: 'default', id: 'whk_1' };
  const secrets = { secrets: [{ secret: 'whsec_y', validUntil: null }], ed25519Keys: [], headers: {} };
  await createWebhookStore(client, createSealer(OLD)).create(subscribed as Webhook, secrets);
  const env = { REDIS_URL: urlOf(redis), POPBRIDGE_MASTER_KEYS: `${NEW},${OLD}` };

  const first = start(['keys', 'rotate'], env);
  await once(first.stderr, 'data'); // It has begun.
  first.kill('SIGKILL');
  await once(first, 'close');

  const { code, stdout, stderr } = await run(['keys', 'rotate', '--json'], env);
  expect(code, stderr).toBe(2);
  expect(JSON.parse(stdout)).toMatchObject({
    failed: 1,
    failures: [{ place: 'mailbox default/mbx_lost', reason: expect.stringContaining('"other"') as string }],
    isComplete: false,
    unused: [],
  });
  const after = createMailboxStore(client, createSealer(NEW));
  const opened = await Promise.all(Array.from({ length: MAILBOXES }, (_, n) => after.openCredentials(refOf(n))));
  expect(opened).toEqual(Array.from({ length: MAILBOXES }, (_, n) => ({ type: 'password', password: `pw-${n}` })));

  const ofFetch = { ...fetch, id: webhookOfFetch(fetch.id) };
  expect(await createFetchWebhooks(client, createSealer(NEW)).openSecrets(ofFetch)).toMatchObject({
    secrets: [{ secret: webhook.secret }],
  });
  expect(await createWebhookStore(client, createSealer(NEW)).openSecrets(subscribed)).toEqual(secrets);
  expect(await createCredentialStore(client, createSealer(NEW), 1).open(fetch)).toEqual(password);

  await store.delete(lost);
  const last = await run(['keys', 'rotate'], env);
  expect(last).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('Nothing needs these keys any more: old.') as string,
  });
}, 180_000);

it('the command line says what it takes, and refuses the rest', { timeout: 60_000 }, async () => {
  const generated = await run(['keys', 'generate', '--id', 'k2']);
  expect(generated).toMatchObject({ code: 0, stderr: '' });
  expect(createSealer(generated.stdout.trim()).keyIds).toEqual(['k2']);
  expect(await run(['keys', 'generate', '--id', 'a:b'])).toMatchObject({ code: 1, stdout: '' });
  expect((await run(['keys', '--help'])).stdout).toContain('rotate');
  expect(await run(['kyes'])).toMatchObject({ code: 1, stdout: '' });
  const noKey = await run(['keys', 'list'], { REDIS_URL: 'redis://127.0.0.1:1' });
  expect(noKey).toMatchObject({ code: 1, stdout: '' });
  expect(noKey.stderr).toContain('POPBRIDGE_MASTER_KEYS must be set');
});
