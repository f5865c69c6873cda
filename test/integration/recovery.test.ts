/** A Redis that is lost, or put back from an older copy, under the real program: what the README says is done, brings all mail back. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startWebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startService, type FetchBody, type Service } from '../support/service.ts';

const LARGE = Buffer.from(`Subject: large\r\n\r\n${`${'x'.repeat(70)}\r\n`.repeat(5_000)}`);
const MAILS = [...sandboxMails().map(({ raw }) => raw), LARGE];
const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
const PASSWORD = 'a real password';
const masterKey = (id: string, fill: number): string => `${id}:${Buffer.alloc(32, fill).toString('base64')}`;
const KEYS = masterKey('test', 7);
const REDIS_FILES = ['appendonlydir', 'dump.rdb'];

interface Place {
  redis: TestRedis;
  dataDir: string;
  dovecot: Dovecot;
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'popbridge-recovery-'));
  onTestFinished(() => rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  return path;
}

async function place(...users: string[]): Promise<Place> {
  const dovecot = await startDovecot({
    users: Object.fromEntries(users.map((user) => [user, { password: PASSWORD, mails: MAILS }])),
  });
  onTestFinished(() => dovecot.close());
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  return { redis, dataDir: await folder(), dovecot };
}

async function serve({ redis, dataDir }: Pick<Place, 'redis' | 'dataDir'>): Promise<Service> {
  const service = await startService({ redis, dataDir, env: { POPBRIDGE_MASTER_KEYS: KEYS } });
  onTestFinished(() => service.close());
  return service;
}

async function recover(
  { redis, dataDir }: Pick<Place, 'redis' | 'dataDir'>,
  args: readonly string[] = [],
  keys = KEYS,
) {
  const child = spawn(process.execPath, ['src/main.ts', 'recover', '--json', ...args], {
    env: {
      PATH: process.env['PATH'],
      REDIS_URL: `redis://localhost?path=${redis.socketPath}`,
      POPBRIDGE_OPERATOR_KEY: 'unused-by-commands-0123456789',
      POPBRIDGE_DATA_DIR: dataDir,
      POPBRIDGE_MASTER_KEYS: keys,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  expect(stderr).toBe('');
  return { code: code as number | null, ...(JSON.parse(stdout) as Record<string, unknown>) };
}

const source = ({ dovecot }: Place, username: string) =>
  ({ host: '127.0.0.1', port: dovecot.port, tls: 'none', username, password: PASSWORD }) as const;

async function fetchAll(service: Service, where: Place, username: string, more: object = {}): Promise<FetchBody> {
  const fetch = await service.fetchMail({ source: source(where, username), delete: 'stored', ...more });
  expect(fetch, JSON.stringify(fetch)).toMatchObject({ state: 'succeeded', counts: { retrieved: MAILS.length } });
  return fetch;
}

/** As the API gives them: ids and what was parsed, and the very bytes. */
async function readAll(service: Service, ids: readonly string[]) {
  return Promise.all(
    ids.map(async (id) => ({
      message: (await service.api('GET', `/v1/messages/${id}`)).asMessage(),
      raw: (await service.api('GET', `/v1/messages/${id}/raw`)).bytes.toString('latin1'),
    })),
  );
}

async function listIds(service: Service): Promise<string[]> {
  const page = (await service.api('GET', '/v1/messages?limit=100')).asPage();
  expect(page.nextCursor).toBeNull();
  return page.items.map(({ id }) => id).toSorted();
}

const idsOf = async (service: Service, { id }: FetchBody): Promise<string[]> =>
  (await service.listMessages(id)).map((message) => message.id);

/** @param putBack puts an older copy in the place of what was lost. */
async function loseRedis({ redis }: Pick<Place, 'redis'>, putBack?: () => Promise<void>): Promise<void> {
  await redis.kill('SIGKILL');
  for (const name of REDIS_FILES) await rm(join(dirname(redis.socketPath), name), { recursive: true, force: true });
  await putBack?.();
  await redis.restart();
}

describe.skipIf(!dovecotAvailable())('a lost Redis (skipped where dovecot-pop3d is not installed)', () => {
  it('is recovered from the blobs: every message under its id, none that was deleted, and nothing twice', async () => {
    const where = await place('deleted', 'kept');
    const receiver = await startWebhookReceiver();
    onTestFinished(() => receiver.close());
    const webhook = { url: receiver.url, secret: SECRET };
    let service = await serve(where);
    const [gone = '', ...ids] = await idsOf(service, await fetchAll(service, where, 'deleted'));
    const kept = await idsOf(service, await fetchAll(service, where, 'kept', { delete: 'never', webhook }));
    const before = await readAll(service, [...ids, ...kept]);
    expect(before.map(({ raw }) => raw)).toContain(LARGE.toString('latin1'));
    expect((await service.api('DELETE', `/v1/messages/${gone}`)).status).toBe(204);
    const eventIds = async (count: number) =>
      (await receiver.waitFor(count, 30_000)).map(({ headers }) => headers['webhook-id']);
    const events = new Set(await eventIds(MAILS.length));
    await service.kill('SIGKILL');
    await loseRedis(where);

    const expected = { restored: before.length, gone: 0, incomplete: 0, dataKeys: 1, failed: 0, error: null };
    expect(await recover(where, ['--dry-run'])).toMatchObject({ code: 0, ...expected, isDryRun: true });
    const locked = await recover(where, [], masterKey('other', 8));
    expect(locked).toMatchObject({
      code: 2,
      restored: 0,
      error: expect.stringContaining('POPBRIDGE_MASTER_KEYS') as string,
    });
    expect(await recover(where)).toMatchObject({ code: 0, ...expected, dataKeys: 0, isDryRun: false });
    expect(await recover(where)).toMatchObject({ code: 0, restored: 0, dataKeys: 0 });

    service = await serve(where);
    expect(await listIds(service)).toEqual([...ids, ...kept].toSorted());
    expect(await readAll(service, [...ids, ...kept])).toEqual(before);
    expect((await service.api('GET', `/v1/messages/${gone}`)).status).toBe(404);

    // What was not deleted upstream is fetched again, as no ledger knows of it: under the same ids, and then deleted there.
    const again = await fetchAll(service, where, 'kept', { webhook });
    expect(again).toMatchObject({ counts: { deleted: MAILS.length } });
    expect((await idsOf(service, again)).toSorted()).toEqual(kept.toSorted());
    expect(await listIds(service)).toEqual([...ids, ...kept].toSorted());
    expect(new Set(await eventIds(2 * MAILS.length))).toEqual(events);
  }, 180_000);

  it('that comes back as an older copy has what came since, and not what was deleted since', async () => {
    const where = await place('early', 'late');
    const files = dirname(where.redis.socketPath);
    let service = await serve(where);
    const [first = '', second = '', ...early] = await idsOf(service, await fetchAll(service, where, 'early'));
    await service.kill();
    await where.redis.kill('SIGTERM');
    const copy = await folder();
    const names = (await readdir(files)).filter((name) => REDIS_FILES.includes(name));
    for (const name of names) await cp(join(files, name), join(copy, name), { recursive: true });
    await where.redis.restart();

    service = await serve(where);
    const late = await idsOf(service, await fetchAll(service, where, 'late'));
    for (const id of [first, second]) await service.api('DELETE', `/v1/messages/${id}`);
    const before = await readAll(service, [...early, ...late]);
    await service.kill('SIGKILL');
    await loseRedis(where, async () => {
      for (const name of names) await cp(join(copy, name), join(files, name), { recursive: true });
    });

    expect(await recover(where)).toMatchObject({ code: 0, restored: late.length, gone: 2, failed: 0 });
    service = await serve(where);
    expect(await listIds(service)).toEqual([...early, ...late].toSorted());
    // A message that Redis still knew is as it was in that copy.
    expect(await readAll(service, [...early, ...late])).toEqual(before);
  }, 180_000);

  it('that nobody has noticed costs no mail: the worker restores it by itself, and deletes nothing', async () => {
    const where = await place('user');
    let service = await serve(where);
    const ids = await idsOf(service, await fetchAll(service, where, 'user'));
    const before = await readAll(service, ids);
    await service.kill('SIGKILL');
    await loseRedis(where);
    // Long ago, so that nothing of it can be in the hands of a worker that lives.
    const blobs = join(where.dataDir, 'blobs');
    const listFiles = async () =>
      (await readdir(blobs, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map(({ parentPath, name }) => join(parentPath, name));
    const files = await listFiles();
    const threeDaysAgo = Date.now() / 1000 - 3 * 24 * 60 * 60;
    for (const file of files) await utimes(file, threeDaysAgo, threeDaysAgo);

    service = await serve(where);
    await service.logged('Redis had lost messages; what was lost is restored');
    await eventually(
      () => listIds(service),
      ({ length }) => length === ids.length,
    );
    expect(await readAll(service, ids)).toEqual(before);
    expect(await listFiles()).toEqual(expect.arrayContaining(files));
  }, 180_000);
});

describe('a backup', () => {
  it('that is taken as the README says, of a service at work, gives all of it back on another machine', async () => {
    const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
    const steps = /### Backup\n[^]*?```sh\n([^]*?)```/.exec(readme)?.[1] ?? '';
    const commands = [...steps.matchAll(/^\s*redis-cli (CONFIG SET \S+ \d+)/gm)].map(([, command = '']) => command);
    expect(commands).toHaveLength(2);
    expect(steps).toContain('/appendonlydir ');

    const server = await startFakePop3({ mails: numbered(1, 40) });
    onTestFinished(() => server.close());
    const receiver = await startWebhookReceiver();
    onTestFinished(() => receiver.close());
    const redis = await startRedis();
    onTestFinished(() => redis.close());
    const dataDir = await folder();
    let service = await serve({ redis, dataDir });
    const place = { host: '127.0.0.1', port: server.port, tls: 'none', username: 'u', password: PASSWORD };
    const made = await service.api('POST', '/v1/mailboxes', { body: { source: place } });
    const { id } = made.json() as { id: string };
    const fetchIt = async (): Promise<FetchBody> =>
      (await service.api('POST', `/v1/mailboxes/${id}/fetches`, { headers: { prefer: 'wait=30' } })).asFetch();
    expect(await fetchIt()).toMatchObject({ state: 'succeeded', counts: { retrieved: 40 } });
    await service.api('POST', '/v1/webhooks', { body: { url: receiver.url, events: ['fetch.succeeded'] } });
    const [deleted = ''] = await listIds(service);

    // Redis first, while it is written to, and with a rewrite of its file just before.
    const backup = await folder();
    const inside = new Redis(redis.socketPath);
    onTestFinished(() => inside.disconnect());
    await inside.bgrewriteaof();
    const [before = '', after = ''] = commands;
    await inside.call(...(before.split(' ') as [string, ...string[]]));
    await eventually(
      () => inside.info('persistence'),
      (info) => /aof_rewrite_in_progress:0/.test(info) && /aof_rewrite_scheduled:0/.test(info),
    );
    server.mails = numbered(1, 60);
    const writing = fetchIt();
    await cp(join(dirname(redis.socketPath), 'appendonlydir'), join(backup, 'appendonlydir'), { recursive: true });
    expect(await writing).toMatchObject({ state: 'succeeded', counts: { retrieved: 20 } });
    await inside.call(...(after.split(' ') as [string, ...string[]]));
    // What has come, and gone, between the two copies.
    server.mails = numbered(1, 70);
    await fetchIt();
    expect((await service.api('DELETE', `/v1/messages/${deleted}`)).status).toBe(204);
    const ids = await listIds(service);
    expect(ids).toHaveLength(69);
    const all = await readAll(service, ids);
    await cp(join(dataDir, 'blobs'), join(backup, 'blobs'), { recursive: true });

    await service.kill('SIGKILL');
    await rm(join(dataDir, 'blobs'), { recursive: true });
    const other = { redis: await startRedis(), dataDir: await folder() };
    onTestFinished(() => other.redis.close());
    await loseRedis(other, () =>
      cp(join(backup, 'appendonlydir'), join(dirname(other.redis.socketPath), 'appendonlydir'), { recursive: true }),
    );
    await cp(join(backup, 'blobs'), join(other.dataDir, 'blobs'), { recursive: true });
    expect(await recover(other)).toMatchObject({ code: 0, gone: 1, failed: 0 });

    service = await serve(other);
    expect(await listIds(service)).toEqual(ids);
    expect(await readAll(service, ids)).toEqual(all);
    // Credentials, ledger and webhook are there: what is new is fetched, what was there not announced again.
    server.mails = numbered(1, 71);
    const next = await fetchIt();
    expect(next).toMatchObject({ state: 'succeeded', error: null, counts: { listed: 71 } });
    const known = new Set(ids);
    const fresh = (await idsOf(service, next)).filter((message) => !known.has(message) && message !== deleted);
    expect(fresh).toHaveLength(1);
    await receiver.waitFor(1, 30_000);
  }, 180_000);
});

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => ({
    uidl: `u${from + n}`,
    raw: Buffer.from(`Subject: mail ${from + n}\r\n\r\nText ${from + n}.\r\n`),
  }));

it('recover says where it finds no blobs, and does nothing then', async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const where = { redis, dataDir: await folder() };
  expect(await recover(where)).toMatchObject({ code: 2, blobs: 0 });
});
