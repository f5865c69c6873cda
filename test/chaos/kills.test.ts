/**
 * Death of the worker: SIGKILL at seeded points, hundreds of them, of sessions with mail servers, of what is written to Redis, and of webhooks, while
 * several mailboxes are fetched. In the end all mail is here, once, under the ids that it must have, and announced under one; and nothing
 * was deleted upstream before it was.
 */
import { afterAll, beforeAll, describe, it } from 'vitest';
import { startWebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { choosePlan, makeMail, makeMails, pick, seeded } from './plan.ts';
import { createPool, type Pool } from './pool.ts';
import { readSeeds } from './seeds.ts';
import { PASSWORD, startTrial } from './trial.ts';
import { startWorkerLane, type KillPoint, type WorkerLane } from './worker-lane.ts';

const KILLS = 200;
const KILLS_PER_SEED = 10;
const MAILBOXES_PER_SEED = 6;
const MAILS = 4;
const LANES = 3;
/** The furthest that a point may be, and each comes within a round of fetches, or two. */
const POINTS: readonly [KillPoint, ...KillPoint[]] = [
  { on: 'bytes', after: 60_000 },
  { on: 'line', after: 20 },
  { on: 'command', after: 400 },
  { on: 'command', after: 1200 },
  { on: 'webhook', after: 2 },
];

describe.skipIf(!dovecotAvailable())('death of the worker (skipped where dovecot-pop3d is not installed)', () => {
  const seeds = readSeeds(KILLS, KILLS_PER_SEED);
  const users = seeds.flatMap((seed) =>
    Array.from({ length: MAILBOXES_PER_SEED }, (_, at) => ({
      user: `seed${seed}-${at}`,
      mails: makeMails(MAILS, seeded(seed * 1000 + at)),
    })),
  );
  const mailsOf = new Map(users.map(({ user, mails }) => [user, mails]));
  let dovecot: Dovecot;
  let lanes: Pool<WorkerLane>;

  beforeAll(async () => {
    dovecot = await startDovecot({
      users: Object.fromEntries([...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }])),
      reuseProcesses: true,
    });
    // One that ends in order leaves behind what the others start quicker with.
    await (await startWorkerLane()).close();
    const count = Math.min(LANES, seeds.length);
    lanes = createPool(await Promise.all(Array.from({ length: count }, () => startWorkerLane())));
  }, 120_000);
  afterAll(async () => {
    await lanes?.close();
    await dovecot?.close();
  });

  it.concurrent.each(seeds)(
    `at ${KILLS_PER_SEED} points loses, doubles and renames nothing (CHAOS_SEED=%i tries these alone)`,
    { timeout: 600_000 },
    async (seed) => {
      const random = seeded(seed * 104_729);
      const lane = await lanes.take();
      const receiver = await startWebhookReceiver({
        limits: { keptMax: Infinity },
        answer() {
          lane.count('webhook');
          return 204;
        },
      });
      const points = Array.from({ length: KILLS_PER_SEED }, () => {
        const { on, after } = pick(random, POINTS);
        return { on, after: Math.ceil(random() * after) };
      });
      const trials = await Promise.all(
        Array.from({ length: MAILBOXES_PER_SEED }, (_, at) => {
          const user = `seed${seed}-${at}`;
          // One of them has webhooks, or a point that counts them would never come.
          const plan =
            at === 0 ? ({ ...choosePlan(random), by: 'inline', policy: 'stored' } as const) : choosePlan(random);
          let bytes = 0;
          return startTrial({
            dovecot,
            user,
            mails: mailsOf.get(user)!,
            plan,
            service: async () => lane.api,
            ...(plan.by === 'inline' && { receiver }),
            onServerBytes(total) {
              lane.count('bytes', total - bytes);
              bytes = total;
            },
            onLine: async () => lane.count('line'),
          });
        }),
      );
      try {
        lane.arm(points);
        await Promise.all(trials.map((trial) => trial.fetchAll()));
        // Mail goes on coming until all points have come: each round of it is worth more than one.
        while (lane.pointsLeft > 0) {
          for (const trial of trials) await trial.deliver(makeMail(random, 500));
          await Promise.all(trials.map((trial) => trial.fetchAll()));
        }
        await lane.settled();
        for (const trial of trials) await trial.fetchAll();
        for (const trial of trials) await trial.check();
      } finally {
        lane.arm([]);
        await lane.settled();
        for (const trial of trials) await trial.close();
        await receiver.close();
        lanes.give(lane);
      }
    },
  );
});
