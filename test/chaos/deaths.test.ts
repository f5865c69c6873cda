/**
 * Death of the whole service and of Redis, and what looks like death. In the end all mail is here, once, and under the ids that it must have;
 * and nothing was deleted upstream before it was. And the trials show that they would tell.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { eventually, type Service } from '../support/service.ts';
import { startLane, type Lane, type LaneOptions } from './lane.ts';
import { choosePlan, makeMails, seeded, type TrialPlan } from './plan.ts';
import { PASSWORD, startTrial } from './trial.ts';

const SEEDS = [1, 2, 3, 4];
const MAILS = 4;
const PLAN: TrialPlan = { by: 'mailbox', policy: 'stored', isDryRun: false, hasFilter: false };

describe.skipIf(!dovecotAvailable())('death (skipped where dovecot-pop3d is not installed)', () => {
  const users = [...SEEDS.map((seed) => `seed${seed}`), 'redis', 'stopped', 'broken'];
  const mailsOf = new Map(users.map((user, at) => [user, makeMails(MAILS, seeded(at))]));
  let dovecot: Dovecot;

  beforeAll(async () => {
    const accounts = [...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }] as const);
    dovecot = await startDovecot({ users: Object.fromEntries(accounts), reuseProcesses: true });
  });
  afterAll(() => dovecot?.close());

  async function withLane(options: LaneOptions, work: (lane: Lane) => Promise<void>): Promise<void> {
    const lane = await startLane(options);
    try {
      await work(lane);
    } finally {
      await lane.close();
    }
  }

  it('of the whole service loses, doubles and renames nothing', { timeout: 180_000 }, () =>
    withLane({}, async (lane) => {
      for (const seed of SEEDS) {
        const random = seeded(seed * 104_729);
        let bytesLeft = Math.floor(random() * 40_000);
        const killAtQuit = random() < 0.5;
        const deaths: Promise<void>[] = [];
        const trial = await startTrial({
          dovecot,
          user: `seed${seed}`,
          mails: mailsOf.get(`seed${seed}`)!,
          plan: { ...choosePlan(random), by: 'mailbox' },
          service: lane.service,
          onServerBytes(total) {
            if (killAtQuit || total < bytesLeft) return;
            bytesLeft = Infinity;
            deaths.push(lane.killService());
          },
          async onLine(line) {
            if (killAtQuit && deaths.length === 0 && line === 'QUIT') deaths.push(lane.killService());
          },
        });
        try {
          await trial.run();
        } finally {
          await Promise.all(deaths);
          await trial.close();
        }
      }
    }),
  );

  it('of Redis right behind each commit and right before QUIT loses nothing', { timeout: 180_000 }, () =>
    withLane({}, async (lane) => {
      const deaths: Promise<void>[] = [];
      let killsLeft = 2;
      const trial = await startTrial({
        dovecot,
        user: 'redis',
        mails: mailsOf.get('redis')!,
        plan: PLAN,
        service: lane.service,
        async onLine(line) {
          if (killsLeft === 0 || !/^(DELE|QUIT)/.test(line)) return;
          killsLeft -= 1;
          deaths.push(lane.killRedis());
          await deaths.at(-1);
        },
      });
      await trial.run();
      await Promise.all(deaths);
      expect(killsLeft).toBe(0);
      await trial.close();
    }),
  );

  it(
    'that was none: a process that stood still for longer than its lease finds itself replaced',
    { timeout: 180_000 },
    () =>
      withLane({}, async (lane) => {
        const first = await lane.service();
        let other: Service | null = null;
        let stands: Promise<void> | null = null;
        const trial = await startTrial({
          dovecot,
          user: 'stopped',
          mails: mailsOf.get('stopped')!,
          plan: PLAN,
          sessionsMax: 2,
          service: async () => {
            await stands;
            return other ?? first;
          },
          async onLine(line) {
            if (stands !== null || !line.startsWith('RETR')) return;
            process.kill(first.pid, 'SIGSTOP');
            // Whoever asks from now on asks the other one.
            stands = lane.another().then((service) => void (other = service));
          },
        });
        await first.api('POST', `/v1/mailboxes/${trial.mailbox}/fetches`);
        await expect.poll(() => stands, { timeout: 30_000 }).not.toBeNull();
        await trial.run();
        process.kill(first.pid, 'SIGCONT');
        await eventually(
          async () => trial.proxy.open,
          (open) => open === 0,
          20_000,
        );
        await first.ready();
        await trial.run();
        await trial.close();
      }),
  );

  it('is found out by these trials where the ledger is marked before the mail is stored', { timeout: 120_000 }, () =>
    withLane({ env: { NODE_OPTIONS: `--import=${new URL('break-order.ts', import.meta.url).href}` } }, async (lane) => {
      const deaths: Promise<void>[] = [];
      const trial = await startTrial({
        dovecot,
        user: 'broken',
        mails: mailsOf.get('broken')!,
        plan: { ...PLAN, policy: 'never' },
        service: lane.service,
        async onLine(line) {
          if (line === 'QUIT' && deaths.length === 0) deaths.push(lane.killService());
        },
      });
      await expect(trial.run()).rejects.toThrow(/to deeply equal/);
      await Promise.all(deaths);
      await trial.close();
    }),
  );
});
