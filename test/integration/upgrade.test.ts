/** Versions of the program side by side on one Redis, as a cluster runs them while it is upgraded. */
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMailboxClient, serveMails } from '../support/mailboxes.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startService, type Service } from '../support/service.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const mails = (...uidls: string[]) =>
  uidls.map((uidl) => ({ uidl, raw: Buffer.from(`Subject: mail ${uidl}\r\n\r\nText ${uidl}.\r\n`) }));

describe('an upgrade', { timeout: 120_000 }, () => {
  let folder: string;
  let redis: TestRedis;
  const running = new Set<Service>();

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'popbridge-upgrade-'));
    await mkdir(join(folder, 'data'));
    redis = await startRedis();
  });
  afterEach(async () => {
    for (const service of running) await service.close();
    running.clear();
    await redis.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** This program as a later version of it would be: with as many more migrations, the last readable by `readableBy`. */
  async function makeVersion(name: string, migrations: readonly { readableBy: number }[]): Promise<string> {
    const root = join(folder, name);
    for (const part of ['src', 'openapi', 'package.json']) {
      await cp(join(ROOT, part), join(root, part), { recursive: true });
    }
    await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'));
    const steps = migrations.map(
      ({ readableBy }, step) =>
        `{ readableBy: ${readableBy}, run: async (redis) => void (await redis.sadd('pb:{migrated}', '${step}')) }`,
    );
    await writeFile(join(root, 'src/redis/migrations.ts'), `export const MIGRATIONS = [${steps.join(', ')}];\n`);
    return root;
  }
  async function start(root: string, role: 'api' | 'worker' | 'all'): Promise<Service> {
    const service = await startService({ root, redis, dataDir: join(folder, 'data'), env: { POPBRIDGE_ROLE: role } });
    running.add(service);
    return service;
  }
  async function stop(service: Service): Promise<void> {
    expect(await service.kill()).toEqual({ code: 0, signal: null });
    running.delete(service);
  }

  it('runs the old version and the new one side by side: each fetches and shows what the other has begun', async () => {
    const newer = await makeVersion('newer', [{ readableBy: 1 }]);
    const server = await serveMails({ mails: mails('a') });
    const oldApi = await start(ROOT, 'api');
    let worker = await start(ROOT, 'worker');
    const byOld = createMailboxClient(() => oldApi);
    const mailbox = await byOld.store(server);
    expect(await byOld.subjects(await byOld.fetch(mailbox))).toEqual(['mail a']);

    const newApi = await start(newer, 'api');
    const byNew = createMailboxClient(() => newApi);
    server.mails = mails('a', 'b');
    expect(await byNew.subjects(await byNew.fetch(mailbox))).toEqual(['mail b']);

    await stop(worker);
    worker = await start(newer, 'worker');
    server.mails = mails('a', 'b', 'c');
    const fetched = await byOld.fetch(mailbox);
    expect(await byNew.subjects(fetched)).toEqual(['mail c']);
    // What was stored by one is known to the other: nothing came twice.
    expect((await byNew.ledger(mailbox)).map(({ uidl, state }) => [uidl, state])).toEqual([
      ['a', 'stored'],
      ['b', 'stored'],
      ['c', 'stored'],
    ]);

    // A roll back: the old version starts on what the new one has migrated.
    await stop(worker);
    await stop(newApi);
    await start(ROOT, 'worker');
    server.mails = mails('a', 'b', 'c', 'd');
    expect(await byOld.subjects(await byOld.fetch(mailbox))).toEqual(['mail d']);
  });

  it('turns a version that cannot read the data any more unready, ends its workers, and lets it not start again', async () => {
    const newest = await makeVersion('newest', [{ readableBy: 1 }, { readableBy: 2 }]);
    const old = await start(ROOT, 'api');
    const oldWorker = await start(ROOT, 'worker');
    await start(newest, 'all');
    expect(await oldWorker.exited).toEqual({ code: 1, signal: null });
    running.delete(oldWorker);
    expect(oldWorker.logs().find(({ level }) => level === 'fatal')).toMatchObject({
      reason: expect.stringContaining('of version 3, which a newer popbridge has made') as string,
    });
    const ready = await eventually(
      () => old.api('GET', '/readyz'),
      ({ status }) => status === 503,
    );
    expect(ready.text).toContain('of version 3, which a newer popbridge has made');
    await expect(start(ROOT, 'all')).rejects.toThrow(/reads up to 1\. Start a popbridge that reads version 3/);
  });
});
