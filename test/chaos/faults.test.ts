/**
 * Upstream trouble: sessions that are cut, reset, slowed down or filled with garbage at seeded bytes, and some that stall. In the end all mail is here,
 * once, and under the ids that it must have; and nothing was deleted upstream before it was.
 */
import { afterAll, beforeAll, describe, it } from 'vitest';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { startService, type Service } from '../support/service.ts';
import type { Fault } from './fault-proxy.ts';
import { choosePlan, makeMails, pick, seeded } from './plan.ts';
import { readSeeds } from './seeds.ts';
import { PASSWORD, startTrial } from './trial.ts';

const KINDS = ['cut', 'reset', 'slow', 'garbage'] as const;
const MAILS = 5;
/** Each takes a minute in which nothing is done, so all are under way at once. */
const STALLS = Array.from({ length: 24 }, (_, at) => at + 1);

describe.skipIf(!dovecotAvailable())('upstream trouble (skipped where dovecot-pop3d is not installed)', () => {
  const seeds = readSeeds(120);
  const users = [...seeds.map((seed) => `seed${seed}`), ...STALLS.map((seed) => `stall${seed}`)];
  const mailsOf = new Map(users.map((user, at) => [user, makeMails(MAILS, seeded(at + 1))]));
  let dovecot: Dovecot;
  let service: Service;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    const accounts = [...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }] as const);
    dovecot = await startDovecot({ users: Object.fromEntries(accounts), reuseProcesses: true });
    service = await startService();
    receiver = await startWebhookReceiver({ limits: { keptMax: Infinity } });
  }, 120_000);
  afterAll(async () => {
    await service?.close();
    await receiver?.close();
    await dovecot?.close();
  });

  async function tryOut(user: string, random: () => number, faults: readonly Fault[]): Promise<void> {
    const plan = choosePlan(random);
    const trial = await startTrial({
      dovecot,
      user,
      mails: mailsOf.get(user)!,
      plan,
      fault: (connection) => faults[connection - 1] ?? null,
      service: async () => service,
      ...(plan.by === 'inline' && { receiver }),
    });
    try {
      await trial.run();
    } finally {
      await trial.close();
    }
  }

  /** As often in the dialogue as in the mail. */
  const placeOf = (user: string, random: () => number): number => {
    const bytes = mailsOf.get(user)!.reduce((sum, mail) => sum + mail.length, 0);
    return Math.floor(random() * (random() < 0.5 ? 600 : bytes + 600));
  };

  it.concurrent.each(seeds)(
    'loses, doubles and renames nothing (CHAOS_SEED=%i tries this alone)',
    { timeout: 120_000 },
    async (seed) => {
      const random = seeded(seed * 7919);
      const user = `seed${seed}`;
      const faults = Array.from({ length: 1 + Math.floor(random() * 3) }, (): Fault => ({
        kind: pick(random, KINDS),
        atByte: placeOf(user, random),
      }));
      await tryOut(user, random, faults);
    },
  );

  it.concurrent(
    `loses, doubles and renames nothing where it stalls, at ${STALLS.length} places`,
    { timeout: 400_000 },
    () =>
      Promise.all(
        STALLS.map(async (seed) => {
          const random = seeded(seed * 3571);
          const user = `stall${seed}`;
          await tryOut(user, random, [{ kind: 'stall', atByte: placeOf(user, random) }]);
        }),
      ).then(() => undefined),
  );
});
