/**
 * A master of a Redis Cluster, or one that sentinels watch, dies while mail is fetched. The others put a replica in its
 * place, nobody tells popbridge, and it goes on by itself: in the end all mail is here, once, and under the ids that it must have.
 */
import { Command } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { shardOf } from '../../src/fetch/shard.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { dueKeys, mailboxKeys, queueKeys } from '../../src/redis/keys.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { connectTo } from '../support/redis-client.ts';
import { startCluster, startSentinels, type RedisGroup, type RedisNode } from '../support/redis-nodes.ts';
import { eventually, startService, type Service } from '../support/service.ts';
import { makeMails, seeded, type TrialPlan } from './plan.ts';
import { PASSWORD, startTrial, type Trial } from './trial.ts';

const PLAN: TrialPlan = { by: 'mailbox', policy: 'stored', isDryRun: false, hasFilter: false };
const FAILOVER_MS = 30_000;

/** The line at which the master of these keys comes to it. */
const CASES = [
  { line: 'RETR', of: 'mailbox' },
  { line: 'DELE', of: 'fetch queue' },
] as const;
type Owned = (typeof CASES)[number]['of'];

const kinds: [string, () => Promise<RedisGroup>][] = [
  ['a Redis Cluster', startCluster],
  ['a Redis that sentinels lead to', startSentinels],
];

describe.skipIf(!dovecotAvailable())('a master is lost (skipped where dovecot-pop3d is not installed)', () => {
  for (const [name, start] of kinds) {
    describe(`with ${name}`, () => {
      const users = CASES.map(({ line }) => line.toLowerCase());
      const mailsOf = new Map(users.map((user, at) => [user, makeMails(5, seeded(at))]));
      let group: RedisGroup;
      let client: RedisClient;
      let dovecot: Dovecot;
      let service: Service;

      beforeEach(async () => {
        const accounts = [...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }] as const);
        [group, dovecot] = await Promise.all([
          start(),
          startDovecot({ users: Object.fromEntries(accounts), reuseProcesses: true }),
        ]);
        client = await connectTo(group);
        service = await startService({ redis: group });
      });
      afterEach(async () => {
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
      async function lose(master: RedisNode): Promise<void> {
        const count = (await group.masters()).length;
        await master.kill();
        await eventually(
          () => group.masters(),
          (masters) => masters.length === count && !masters.includes(master),
          FAILOVER_MS,
        );
      }

      const keyOf = (owned: Owned, { mailbox }: Trial): string =>
        owned === 'mailbox' ? mailboxKeys('default', mailbox).record : queueKeys('fetch').wait;

      it.each(CASES)(
        'the one of the $of at $line: nothing is lost, doubled or renamed, and work goes on',
        { timeout: 120_000 },
        async ({ line: wanted, of }) => {
          const failovers: Promise<void>[] = [];
          const user = wanted.toLowerCase();
          const trial: Trial = await startTrial({
            dovecot,
            user,
            mails: mailsOf.get(user)!,
            plan: PLAN,
            service: async () => service,
            async onLine(line) {
              if (failovers.length > 0 || !line.startsWith(wanted)) return;
              const losing = (async () => {
                await lose(await masterOf(keyOf(of, trial)));
              })();
              failovers.push(losing);
              losing.catch(() => undefined);
            },
          });
          onTestFinished(() => trial.close());
          await trial.run();
          expect(failovers).toHaveLength(1);
          await Promise.all(failovers);
          await service.ready();

          // Whatever a worker waits for by now, it hears of it: both queues, and what is due.
          const more = makeMails(1, seeded(99))[0]!;
          await trial.deliver(more);
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
        },
      );
    });
  }
});
