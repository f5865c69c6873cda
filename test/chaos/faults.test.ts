/**
 * Upstream trouble: sessions that are cut, reset, stalled, slowed down or filled with garbage at seeded bytes. In the end all mail is here,
 * once, and under the ids that it must have; and nothing was deleted upstream before it was.
 *
 * `CHAOS_SEEDS=2000 npx vitest run --config test/vitest.config.ts test/chaos` tries more.
 */
import { afterAll, beforeAll, describe, it } from 'vitest';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { startService, type Service } from '../support/service.ts';
import { seeded, type Fault } from './fault-proxy.ts';
import { makeMails, PASSWORD, startTrial } from './maildrop-check.ts';

const SEEDS = Number(process.env['CHAOS_SEEDS'] ?? 120);
const KINDS = ['cut', 'reset', 'slow', 'garbage'] as const;
const MAILS = 5;

describe.skipIf(!dovecotAvailable())('upstream trouble (skipped where dovecot-pop3d is not installed)', () => {
  const seeds = Array.from({ length: SEEDS }, (_, at) => at + 1);
  const mailsOf = new Map(seeds.map((seed) => [seed, makeMails(MAILS, seeded(seed))]));
  let dovecot: Dovecot;
  let service: Service;

  beforeAll(async () => {
    const users = Object.fromEntries(
      [...mailsOf].map(([seed, mails]) => [`seed${seed}`, { password: PASSWORD, mails }]),
    );
    dovecot = await startDovecot({ users, reuseProcesses: true });
    service = await startService();
  }, 120_000);
  afterAll(async () => {
    await service?.close();
    await dovecot?.close();
  });

  it.concurrent.each(seeds)('loses, doubles and renames nothing, with seed %i', { timeout: 120_000 }, async (seed) => {
    const random = seeded(seed * 7919);
    const mails = mailsOf.get(seed)!;
    const bytes = mails.reduce((sum, mail) => sum + mail.length, 0);
    const faults: Fault[] = Array.from({ length: 1 + Math.floor(random() * 3) }, () => ({
      kind: KINDS[Math.floor(random() * KINDS.length)] ?? 'cut',
      // As often in the dialogue as in the mail.
      atByte: Math.floor(random() * (random() < 0.5 ? 600 : bytes + 600)),
    }));
    const trial = await startTrial({
      dovecot,
      user: `seed${seed}`,
      mails,
      policy: random() < 0.3 ? 'stored' : 'never',
      fault: (connection) => faults[connection - 1] ?? null,
      service: async () => service,
    });
    try {
      await trial.run();
    } finally {
      await trial.close();
    }
  });
});
