/**
 * Redis fails over, to a replica that may be without the last writes. What is lost so had not been deleted upstream: in the end all mail is
 * here, once, and under the ids that it must have.
 */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { startRedis } from '../support/redis.ts';
import { replicate } from '../support/replication.ts';
import { eventually, startService, type Service } from '../support/service.ts';
import { startTcpSwitch } from '../support/tcp-switch.ts';
import { expireJobLocks, expireLeases } from './passed-time.ts';
import { makeMails, seeded, type TrialPlan } from './plan.ts';
import { PASSWORD, startTrial, type Trial, type TrialOptions } from './trial.ts';

const PLAN: TrialPlan = { by: 'mailbox', policy: 'stored', isDryRun: false, hasFilter: false };
const MAILS = 4;
const LINES = ['RETR', 'DELE'] as const;

interface Pair {
  service: Service;
  /** The replica hears nothing of the master any more. */
  freezeReplica(): void;
  /** The master dies, or is told to follow the replica, with all its connections open. */
  failOver(master: 'dies' | 'follows'): Promise<void>;
}

describe.skipIf(!dovecotAvailable())('a failover of Redis (skipped where dovecot-pop3d is not installed)', () => {
  const users = [
    'behind',
    ...LINES.map((line) => line.toLowerCase()).flatMap((line) => [`dies-${line}`, `follows-${line}`]),
  ];
  const mailsOf = new Map(users.map((user, at) => [user, makeMails(MAILS, seeded(at))]));
  let dovecot: Dovecot;

  beforeAll(async () => {
    const accounts = [...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }] as const);
    dovecot = await startDovecot({ users: Object.fromEntries(accounts), reuseProcesses: true });
  });
  afterAll(() => dovecot?.close());

  async function startPair(): Promise<Pair> {
    const [master, replica] = [await startRedis(), await startRedis()];
    const way = await startTcpSwitch(master.socketPath);
    onTestFinished(async () => {
      await way.close();
      await master.close();
      await replica.close();
    });
    const link = await startTcpSwitch(master.socketPath);
    onTestFinished(() => link.close());
    await replicate(master, replica, link.port);
    const service = await startService({ redis: master, env: { REDIS_URL: `redis://127.0.0.1:${way.port}` } });
    onTestFinished(() => service.close());
    return {
      service,
      freezeReplica: link.freeze,
      async failOver(fate) {
        if (fate === 'dies') await master.kill('SIGKILL');
        const promoted = new Redis(replica.url);
        await promoted.replicaof('NO', 'ONE');
        await expireLeases(promoted);
        await expireJobLocks(promoted);
        promoted.disconnect();
        way.turn(replica.socketPath);
        if (fate === 'follows') await replicate(replica, master);
        // Whoever has a connection to a master that is gone notices; one to a master that follows is closed by what is refused there.
        await service.ready();
      },
    };
  }

  async function begin(pair: Pair, user: string, options: Partial<TrialOptions> = {}): Promise<Trial> {
    const trial = await startTrial({
      dovecot,
      user,
      mails: mailsOf.get(user)!,
      plan: PLAN,
      service: async () => pair.service,
      // Leases run out at once here, while who holds them has a session open.
      sessionsMax: 2,
      ...options,
    });
    onTestFinished(() => trial.close());
    return trial;
  }

  async function countMessages({ service }: Pair, { mailbox }: Trial): Promise<number> {
    return ((await service.api('GET', `/v1/messages?mailbox=${mailbox}`)).json() as { items: unknown[] }).items.length;
  }

  it(
    'to a replica that lags behind loses what was stored, and nothing of it was deleted upstream',
    {
      timeout: 120_000,
    },
    async () => {
      const pair = await startPair();
      let isBehind = false;
      const trial = await begin(pair, 'behind', {
        async onLine(line) {
          if (isBehind || !line.startsWith('RETR')) return;
          isBehind = true;
          pair.freezeReplica();
        },
      });
      await pair.service.api('POST', `/v1/mailboxes/${trial.mailbox}/fetches`);
      const ended = await eventually(
        async () => pair.service.logs().find(({ msg }) => msg === 'Fetch attempt ended'),
        (line) => line !== undefined,
        30_000,
      );
      expect(ended).toMatchObject({
        code: 'storage_failed',
        detail: expect.stringContaining('0 of 1 replicas') as unknown,
      });
      expect(await countMessages(pair, trial)).toBe(MAILS);
      expect(await dovecot.maildir('behind')).toHaveLength(MAILS);
      await pair.failOver('dies');
      expect(await countMessages(pair, trial)).toBe(0);
      await trial.run();
    },
  );

  it.each(LINES.flatMap((line) => [[line, 'dies'] as const, [line, 'follows'] as const]))(
    'at %s, where the master %s, loses, doubles and renames nothing',
    { timeout: 120_000 },
    async (wanted, fate) => {
      const pair = await startPair();
      const failovers: Promise<void>[] = [];
      const trial = await begin(pair, `${fate}-${wanted.toLowerCase()}`, {
        async onLine(line) {
          if (failovers.length > 0 || !line.startsWith(wanted)) return;
          failovers.push(pair.failOver(fate));
          await failovers[0];
        },
      });
      await trial.run();
      await Promise.all(failovers);
      expect(failovers).toHaveLength(1);
    },
  );
});
