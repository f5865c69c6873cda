/** Each kind of Redis that popbridge runs on, from real processes: mail comes from a real Dovecot, and all that is made of it is there. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { shardOf } from '../../src/fetch/shard.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { dueKeys } from '../../src/redis/keys.ts';
import { startWebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { runCommand } from '../support/command.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { readEvents, streamEvents } from '../support/event-feed.ts';
import { connectTo, findKeys } from '../support/redis-client.ts';
import { startAlone, startCluster, startSentinels, type RedisGroup } from '../support/redis-nodes.ts';
import { serviceEnv, startService, type Service } from '../support/service.ts';
import { valkeyPath } from '../support/valkey.ts';

const PASSWORD = 'a real password';
const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
const WAIT_MS = 30_000;
const MAILS = Array.from({ length: 12 }, (_, at) =>
  Buffer.from(`Subject: mail ${at}\r\n\r\n${`Line ${at}.\r\n`.repeat(at * at)}`),
);
const SUBJECTS = MAILS.map((_, at) => `mail ${at}`).sort();

const kinds: [string, () => Promise<RedisGroup>, blobs: 'redis' | 'file', isHere: boolean][] = [
  ['a Redis Cluster', startCluster, 'redis', true],
  ['a Redis that sentinels lead to', startSentinels, 'file', true],
  [
    'Valkey (skipped where test/support/unpack-valkey.sh has not run)',
    () => startAlone({ serverPath: valkeyPath() }),
    'redis',
    valkeyPath() !== undefined,
  ],
];

for (const [kind, startGroup, blobs, isHere] of kinds) {
  describe.skipIf(!dovecotAvailable() || !isHere)(`On ${kind}`, () => {
    let group: RedisGroup;
    let client: RedisClient;
    let dovecot: Dovecot;
    let service: Service;

    beforeAll(async () => {
      const users = Object.fromEntries(['due', 'inline'].map((user) => [user, { password: PASSWORD, mails: MAILS }]));
      [group, dovecot] = await Promise.all([startGroup(), startDovecot({ users, reuseProcesses: true })]);
      client = await connectTo(group);
      service = await startService({ redis: group, env: { POPBRIDGE_BLOB_STORE: blobs } });
    });
    afterAll(async () => {
      await service?.close();
      client?.disconnect();
      await Promise.all([group?.close(), dovecot?.close()]);
    });

    const source = (username: string) =>
      ({ host: '127.0.0.1', port: dovecot.port, tls: 'none', username, password: PASSWORD }) as const;

    const run = (...args: string[]) =>
      runCommand(args, { ...serviceEnv(service.dataDir, group), POPBRIDGE_BLOB_STORE: blobs });

    it(
      'has a mailbox fetched when it is due: each message is stored, told of in a stream and to a webhook, and then deleted upstream',
      { timeout: 90_000 },
      async () => {
        const receiver = await startWebhookReceiver();
        onTestFinished(() => receiver.close());
        await service.api('POST', '/v1/webhooks', { body: { url: receiver.url, events: ['message.received'] } });
        const body = { source: source('due'), delete: 'stored', schedule: { every: '1h' } };
        const made = await service.api('POST', '/v1/mailboxes', { body });
        const { id } = made.json() as { id: string };

        const stream = streamEvents(service);
        await stream.next();
        await client.zadd(dueKeys(shardOf(id)).mailboxes, 0, `default/${id}`);
        const sent = await receiver.waitFor(MAILS.length, WAIT_MS);
        const told: string[] = [];
        while (told.length < MAILS.length) {
          const { event } = (await stream.next()).value!;
          if (event?.type === 'message.received') told.push(event.subject);
        }
        await stream.return();
        await expect.poll(() => dovecot.maildir('due'), { timeout: WAIT_MS }).toEqual([]);

        const page = (await service.api('GET', `/v1/messages?mailbox=${id}&limit=100`)).asPage();
        expect(page.items.map(({ subject }) => subject ?? '').sort()).toEqual(SUBJECTS);
        const ids = page.items.map((message) => message.id).sort();
        expect(told.sort()).toEqual(ids);
        const sentOf = sent.map(
          ({ body }) => (JSON.parse(body.toString()) as { data: { message: { id: string } } }).data,
        );
        expect(sentOf.map(({ message }) => message.id).sort()).toEqual(ids);
        await expect
          .poll(async () => (await readEvents(service, `&mailbox=${id}`)).map(({ type }) => type), { timeout: WAIT_MS })
          .toEqual(expect.arrayContaining(['message.deleted_upstream', 'fetch.succeeded']));
      },
    );

    it('has a fetch with inline settings end, and its webhook told', { timeout: 60_000 }, async () => {
      const receiver = await startWebhookReceiver();
      onTestFinished(() => receiver.close());
      const webhook = { url: receiver.url, secret: SECRET };
      const fetch = await service.fetchMail({ source: source('inline'), delete: 'stored', webhook });
      const counts = { listed: MAILS.length, retrieved: MAILS.length, deleted: MAILS.length, failed: 0 };
      expect(fetch, JSON.stringify(fetch)).toMatchObject({ state: 'succeeded', counts });
      const messages = await service.listMessages(fetch.id);
      expect(messages.map(({ subject }) => subject ?? '').sort()).toEqual(SUBJECTS);
      await receiver.waitFor(MAILS.length, WAIT_MS);
      for (const [at, { id, subject }] of messages.entries()) {
        const raw = (await service.api('GET', `/v1/messages/${id}/raw`)).bytes;
        expect([at, subject, MAILS.some((mail) => mail.equals(raw))]).toEqual([at, subject, true]);
      }
      expect((await service.api('DELETE', `/v1/messages/${messages[0]!.id}`)).status).toBe(204);
    });

    it('has all that is sealed found, on whatever server it is', { timeout: 60_000 }, async () => {
      expect(await run('keys', 'list')).toMatchObject({
        code: 0,
        keys: [{ id: 'test', role: 'seals', mailboxes: 1, dataKeys: 1 }],
      });
      expect(await run('keys', 'rotate')).toMatchObject({ code: 0 });
    });

    it('has records that are lost found by the audit, and put back', { timeout: 60_000 }, async () => {
      // What was acknowledged is in the record alone.
      const list = async () =>
        (await service.api('GET', '/v1/messages?limit=100'))
          .asPage()
          .items.map(({ id, digest, subject, fetchedAt }) => ({ id, digest, subject, fetchedAt }));
      const before = await list();
      expect(before).toHaveLength(2 * MAILS.length - 1);
      const records = await findKeys(client, 'pb:{*}:message');
      expect(records).toHaveLength(before.length);
      for (const key of records.slice(0, 9)) await client.del(key);
      expect(await list()).toHaveLength(before.length - 9);
      expect(await run('recover')).toMatchObject({ code: 0, restored: 9, gone: 0, failed: 0 });
      expect(await list()).toEqual(before);
    });
  });
}
