/** What a trial is about, drawn from its seed: the mails, how they are fetched, which of them are wanted, and when they may be deleted upstream. */
import { createHash } from 'node:crypto';
import type { components } from '../../src/contract.gen.ts';

export interface TrialPlan {
  /** By a stored mailbox, or by fetches with inline settings, which have a webhook. */
  readonly by: 'mailbox' | 'inline';
  readonly policy: components['schemas']['MailboxDeletePolicy'];
  readonly isDryRun: boolean;
  readonly hasFilter: boolean;
}

export const FILTER = { bytesMax: 30_000, headers: [{ name: 'Subject', contains: ['wanted'] }] };

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pick<T>(random: () => number, items: readonly [T, ...T[]]): T {
  return items[Math.floor(random() * items.length)] ?? items[0];
}

export function choosePlan(random: () => number): TrialPlan {
  const by = random() < 0.3 ? 'inline' : 'mailbox';
  const policy = pick<TrialPlan['policy']>(
    random,
    by === 'inline'
      ? ['never', 'stored']
      : ['never', 'stored', 'stored', 'acknowledged', { afterDays: 0 }, { afterDays: 1 }, { keepLast: 2 }],
  );
  return { by, policy, isDryRun: by === 'mailbox' && random() < 0.1, hasFilter: random() < 0.4 };
}

/** Mails whose bytes all differ, of some sizes that matter: without a line, of a line, over a piece. */
export function makeMails(count: number, random: () => number): Buffer[] {
  return Array.from({ length: count }, (_, at) => makeMail(random, at === 0 ? 0 : Math.floor(random() ** 3 * 3000)));
}

/** @param lines of some forty bytes. */
export function makeMail(random: () => number, lines: number): Buffer {
  const text = Array.from({ length: lines }, (__, line) => `Line ${line} of a mail, ${random()}.\r\n`).join('');
  const subject = `${random() < 0.7 ? 'Wanted' : 'Other'} ${random()}`;
  return Buffer.from(`Subject: ${subject}\r\nFrom: a@example.com\r\n\r\n${text}`);
}

export function isWanted({ hasFilter }: TrialPlan, mail: Buffer): boolean {
  return !hasFilter || (mail.length <= FILTER.bytesMax && mail.includes('Subject: Wanted'));
}

/** What is left upstream when all is done. @param mails oldest first. @param isAcknowledged by digest. */
export function leftUpstream(
  plan: TrialPlan,
  mails: readonly Buffer[],
  isAcknowledged: (digest: string) => boolean,
): readonly Buffer[] {
  const { policy } = plan;
  const wanted = mails.filter((mail) => isWanted(plan, mail));
  const stays = (mail: Buffer): boolean => {
    if (!isWanted(plan, mail) || plan.isDryRun || policy === 'never') return true;
    if (policy === 'stored') return false;
    if (policy === 'acknowledged') return !isAcknowledged(digestOf(mail));
    if ('afterDays' in policy) return policy.afterDays > 0;
    return wanted.indexOf(mail) >= wanted.length - policy.keepLast;
  };
  return mails.filter(stays);
}

export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
