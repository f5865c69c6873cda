/**
 * A master of a Redis Cluster, or one that sentinels watch, dies or stands still while mail is fetched, or is lost together with whoever
 * could take its place. Nobody tells popbridge, and it goes on by itself: in the end all mail is here, once, and under the ids that it
 * must have.
 */
import { Command } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { shardOf } from '../../src/fetch/shard.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { dueKeys, eventKeys, mailboxKeys, messageKey, queueKeys } from '../../src/redis/keys.ts';
import { runCommand } from '../support/command.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { connectTo } from '../support/redis-client.ts';
import { startCluster, startSentinels, type RedisGroup, type RedisNode } from '../support/redis-nodes.ts';
import { eventually, serviceEnv, startService, type Service } from '../support/service.ts';
import { makeMails, seeded, type TrialPlan } from './plan.ts';
import { PASSWORD, startTrial, type Trial, type TrialOptions } from './trial.ts';

const PLAN: TrialPlan = { by: 'mailbox', policy: 'stored', isDryRun: false, hasFilter: false };
const FAILOVER_MS = 30_000;
const TIMEOUT_MS = 180_000;

type Fate = 'dies' | 'stands still';
type Owned = 'mailbox' | 'fetch queue';

interface Kind {
  name: string;
  start(): Promise<RedisGroup>;
  /** The line at which the master of these keys comes to it. */
  cases: readonly { fate: Fate; line: string; of: Owned }[];
  /** Takes away whoever could put another master in the place of this one, and resolves with how they come back. */
  preventFailover(group: RedisGroup, master: RedisNode): Promise<() => Promise<void>>;
}

const kinds: Kind[] = [
  {
    name: 'a Redis Cluster',
    start: startCluster,
    cases: [
      { fate: 'dies', line: 'RETR', of: 'mailbox' },
      { fate: 'dies', line: 'DELE', of: 'fetch queue' },
      { fate: 'stands still', line: 'RETR', of: 'fetch queue' },
    ],
    async preventFailover(group, master) {
      const replica = await replicaOf(group, master);
      await replica.kill();
      return () => replica.restart();
    },
  },
  {
    name: 'a Redis that sentinels lead to',
    start: startSentinels,
    cases: [
      { fate: 'dies', line: 'DELE', of: 'mailbox' },
      { fate: 'stands still', line: 'RETR', of: 'mailbox' },
    ],
    async preventFailover(group) {
      // One of three is no majority.
      const away = (group as Awaited<ReturnType<typeof startSentinels>>).sentinels.slice(1);
      for (const sentinel of away) sentinel.freeze();
      return async () => away.forEach((sentinel) => sentinel.thaw());
    },
  },
];

async function replicaOf({ nodes }: RedisGroup, { port }: RedisNode): Promise<RedisNode> {
  const infos = await Promise.all(nodes.map(({ client }) => client.info('replication').catch(() => '')));
  const at = infos.findIndex((info) => info.includes('role:slave') && info.includes(`master_port:${port}\r`));
  if (at < 0) throw new Error(`The master at ${port} has no replica`);
  return nodes[at]!;
}

describe.skipIf(!dovecotAvailable())('a master is lost (skipped where dovecot-pop3d is not installed)', () => {
  for (const { name, start, cases, preventFailover } of kinds) {
    describe(`with ${name}`, () => {
      const nameOf = (fate: Fate, line: string): string => `${fate.replace(' ', '-')}-${line.toLowerCase()}`;
      const users = [...cases.map(({ fate, line }) => nameOf(fate, line)), 'outage', 'behind'];
      // As many as it takes for them not to be all on one master.
      const mailsOf = new Map(users.map((user, at) => [user, makeMails(user === 'behind' ? 12 : 5, seeded(at))]));
      let group: RedisGroup;
      let client: RedisClient;
      let dovecot: Dovecot;
      let service: Service;

      beforeAll(async () => {
        const accounts = [...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }] as const);
        [group, dovecot] = await Promise.all([
          start(),
          startDovecot({ users: Object.fromEntries(accounts), reuseProcesses: true }),
        ]);
        client = await connectTo(group);
        service = await startService({ redis: group });
      });
      afterAll(async () => {
        await service?.close();
        client?.disconnect();
        await Promise.all([group?.close(), dovecot?.close()]);
      });

      /** As the client has it, once it has heard of the last failover. */
      async function masterOf(key: string): Promise<RedisNode> {
        const found = await eventually(
          async () => {
            const masters = await group.masters();
            if (!('slots' in client)) return masters[0];
            const [owner] = client.slots[new Command('get', [key]).getSlot()] ?? [];
            return masters.find(({ port }) => owner?.endsWith(`:${port}`));
          },
          (master) => master !== undefined,
          FAILOVER_MS,
        );
        return found!;
      }

      /** Resolves when there is another one. */
      async function lose(master: RedisNode, fate: Fate): Promise<void> {
        const count = (await group.masters()).length;
        if (fate === 'dies') await master.kill();
        else master.freeze();
        await eventually(
          () => group.masters(),
          (masters) => masters.length === count && !masters.includes(master),
          FAILOVER_MS,
        );
      }

      /** As what it is now: a replica. */
      async function bringBack(master: RedisNode, fate: Fate): Promise<void> {
        if (fate === 'dies') await master.restart();
        else master.thaw();
        await eventually(
          () => master.client.info('replication').catch(String),
          (info) => info.includes('role:slave') && info.includes('master_link_status:up'),
          FAILOVER_MS,
        );
      }

      const keyOf = (owned: Owned, { mailbox }: Trial): string =>
        owned === 'mailbox' ? mailboxKeys('default', mailbox).record : queueKeys('fetch').wait;

      async function begin(user: string, over: Partial<TrialOptions> = {}): Promise<Trial> {
        const mails = mailsOf.get(user)!;
        const trial = await startTrial({ dovecot, user, mails, plan: PLAN, service: async () => service, ...over });
        onTestFinished(() => trial.close());
        return trial;
      }

      /** Whatever a worker waits for by now, it hears of it: what is due, and its queue. */
      async function expectMoreIsFetched(trial: Trial, user: string): Promise<void> {
        await trial.deliver(makeMails(1, seeded(99))[0]!);
        await service.api('PATCH', `/v1/mailboxes/${trial.mailbox}`, { body: { schedule: { every: '1h' } } });
        // Our own connection notices as late as any.
        await eventually(
          () => client.zadd(dueKeys(shardOf(trial.mailbox)).mailboxes, 0, `default/${trial.mailbox}`).catch(String),
          (answer) => typeof answer === 'number',
        );
        await eventually(
          () => dovecot.maildir(user),
          (mails) => mails.length === 0,
          60_000,
        );
        await trial.check();
      }

      it.each(cases)(
        'the one of the $of $fate at $line: nothing is lost, doubled or renamed, and work goes on',
        { timeout: TIMEOUT_MS },
        async ({ fate, line: wanted, of }) => {
          const failovers: Promise<void>[] = [];
          let lost: RedisNode | undefined;
          const user = nameOf(fate, wanted);
          const onLine = async (line: string): Promise<void> => {
            if (failovers.length > 0 || !line.startsWith(wanted)) return;
            const losing = (async () => {
              lost = await masterOf(keyOf(of, trial));
              await lose(lost, fate);
            })();
            failovers.push(losing);
            losing.catch(() => undefined);
          };
          const trial: Trial = await begin(user, { onLine });
          await trial.run();
          expect(failovers).toHaveLength(1);
          await Promise.all(failovers);
          await service.ready();
          await expectMoreIsFetched(trial, user);
          await bringBack(lost!, fate);
        },
      );

      it(
        'and its replica is behind: what only the master had is found by the reconciler and restored from the blobs',
        { timeout: TIMEOUT_MS },
        async () => {
          const mails = mailsOf.get('behind')!;
          const masters = await group.masters();
          const replicas = group.nodes.filter((node) => !masters.includes(node));
          let isCut = false;
          const onLine = async (line: string): Promise<void> => {
            if (isCut || !line.startsWith('RETR')) return;
            isCut = true;
            for (const replica of replicas) replica.freeze();
            for (const { client } of masters) await client.call('CLIENT', 'KILL', 'TYPE', 'replica');
          };
          const trial = await begin('behind', { onLine, plan: { ...PLAN, policy: 'never' } });
          // A connection may be made again after the first one leads to the new master.
          const list = async () =>
            (
              await eventually(
                () => service.api('GET', `/v1/messages?mailbox=${trial.mailbox}&limit=100`),
                ({ status }) => status === 200,
              )
            )
              .asPage()
              .items.map(({ id, digest }) => ({ id, digest }));
          await service.api('POST', `/v1/mailboxes/${trial.mailbox}/fetches`, { headers: { prefer: 'wait=30' } });
          const before = await eventually(list, ({ length }) => length === mails.length);
          // Of a cluster, not the one with the log of events: what that had not passed on, nobody tells again.
          const withEvents = await masterOf(eventKeys('default').log);
          const holders = await Promise.all(before.map(({ id }) => masterOf(messageKey('default', id))));
          const master = holders.find((holder) => holder !== withEvents) ?? withEvents;
          await master.kill();
          for (const replica of replicas) replica.thaw();
          await eventually(
            () => group.masters(),
            (now) => now.length === masters.length && !now.includes(master),
            FAILOVER_MS,
          );
          await service.ready();
          expect((await list()).length).toBeLessThan(before.length);
          const recovered = await runCommand(['recover'], serviceEnv(service.dataDir, group));
          expect(recovered).toMatchObject({ code: 0, gone: 0, failed: 0 });
          expect(recovered['restored']).toBeGreaterThan(0);
          const byId = (one: { id: string }, other: { id: string }): number => (one.id < other.id ? -1 : 1);
          expect((await list()).sort(byId)).toEqual(before.sort(byId));
          await trial.run();
          await bringBack(master, 'dies');
        },
      );

      // The last one: sentinels that stood still appoint nobody for half a minute.
      it(
        'and whoever could take its place, too: the API says so, and all goes on by itself when they are back',
        { timeout: TIMEOUT_MS },
        async () => {
          const trial = await begin('outage');
          const master = await masterOf(keyOf('fetch queue', trial));
          const allowFailover = await preventFailover(group, master);
          await master.kill();
          const body = { source: { host: '127.0.0.1', port: dovecot.port, tls: 'none', username: 'x', password: 'x' } };
          for (const [method, path, given] of [
            ['GET', `/v1/mailboxes/${trial.mailbox}`, {}],
            ['POST', `/v1/mailboxes/${trial.mailbox}/fetches`, {}],
            ['POST', '/v1/fetches', { body }],
          ] as const) {
            const answer = await eventually(
              () => service.api(method, path, given),
              ({ status }) => status === 503,
            );
            expect(answer.asProblem()).toMatchObject({ code: 'storage_unavailable' });
            expect(answer.headers['retry-after']).toBeDefined();
          }
          expect((await service.api('GET', '/readyz')).status).toBe(503);
          // Longer than a worker waits for a job: by now each has asked in vain.
          const untilMs = performance.now() + 8_000;
          await eventually(
            async () => {
              expect((await service.api('GET', '/livez')).status).toBe(200);
              return performance.now();
            },
            (nowMs) => nowMs > untilMs,
          );
          await master.restart();
          await allowFailover();
          await service.ready();
          await trial.run();
          await expectMoreIsFetched(trial, 'outage');
        },
      );
    });
  }
});
