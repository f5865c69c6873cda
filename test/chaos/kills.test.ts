/**
 * Death: the service is killed with SIGKILL at seeded points of its sessions, several times over, and started again. In the end all mail is
 * here, once, and under the ids that it must have; and nothing was deleted upstream before it was.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import type { Service } from '../support/service.ts';
import { seeded } from './fault-proxy.ts';
import { openLanes, startLane, type Lane } from './lane.ts';
import { makeMails, PASSWORD, startTrial } from './maildrop-check.ts';

const SEEDS = Number(process.env['CHAOS_SEEDS'] ?? 40);
const LANES = 2;
const MAILS = 4;

describe.skipIf(!dovecotAvailable())('death (skipped where dovecot-pop3d is not installed)', () => {
  const seeds = Array.from({ length: SEEDS }, (_, at) => at + 1);
  const mailsOf = new Map(seeds.map((seed) => [`seed${seed}`, makeMails(MAILS, seeded(seed))]));
  for (const name of ['redis', 'stopped', 'broken']) mailsOf.set(name, makeMails(MAILS, seeded(name.length)));
  let dovecot: Dovecot;
  let lanes: Awaited<ReturnType<typeof openLanes>>;

  beforeAll(async () => {
    const users = Object.fromEntries([...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }]));
    dovecot = await startDovecot({ users, reuseProcesses: true });
    lanes = await openLanes(LANES);
  }, 120_000);
  afterAll(async () => {
    await lanes?.close();
    await dovecot?.close();
  });

  it.concurrent.each(seeds)(
    'of the service loses, doubles and renames nothing, with seed %i',
    { timeout: 180_000 },
    async (seed) => {
      const random = seeded(seed * 104_729);
      const user = `seed${seed}`;
      const mails = mailsOf.get(user)!;
      const bytes = mails.reduce((sum, mail) => sum + mail.length, 0);
      const policy = random() < 0.4 ? 'stored' : 'never';
      let bytesLeft = Math.floor(random() * (bytes + 1500));
      let killsLeft = 1 + Math.floor(random() * 2);
      const killAtQuit = random() < 0.3;
      const lane = await lanes.take();
      const deaths: Promise<void>[] = [];
      const trial = await startTrial({
        dovecot,
        user,
        mails,
        policy,
        service: lane.service,
        onServerBytes(total) {
          if (killsLeft === 0 || total < bytesLeft) return;
          killsLeft -= 1;
          bytesLeft = total + Math.floor(random() * bytes);
          deaths.push(lane.killService());
        },
        async onLine(line) {
          if (!killAtQuit || killsLeft === 0 || line !== 'QUIT') return;
          killsLeft -= 1;
          deaths.push(lane.killService());
        },
      });
      try {
        await trial.run();
      } finally {
        await Promise.all(deaths);
        await trial.close();
        lanes.give(lane);
      }
    },
  );

  async function withLane(env: Record<string, string>, work: (lane: Lane) => Promise<void>): Promise<void> {
    const lane = await startLane(env);
    try {
      await work(lane);
    } finally {
      await lane.close();
    }
  }

  it('of Redis right behind each commit and right before QUIT loses nothing', { timeout: 180_000 }, () =>
    withLane({}, async (lane) => {
      const deaths: Promise<void>[] = [];
      let killsLeft = 2;
      const trial = await startTrial({
        dovecot,
        user: 'redis',
        mails: mailsOf.get('redis')!,
        policy: 'stored',
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
          policy: 'stored',
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
        await expect.poll(() => trial.proxy.open, { timeout: 20_000 }).toBe(0);
        await first.ready();
        await trial.run();
        await trial.close();
      }),
  );

  it('is found out by these trials where the ledger is marked before the mail is stored', { timeout: 120_000 }, () =>
    withLane({ NODE_OPTIONS: `--import=${new URL('break-order.ts', import.meta.url).href}` }, async (lane) => {
      const deaths: Promise<void>[] = [];
      const trial = await startTrial({
        dovecot,
        user: 'broken',
        mails: mailsOf.get('broken')!,
        policy: 'never',
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
