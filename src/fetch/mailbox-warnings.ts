/** What a session finds out of its server, and what of that the mailbox is warned of. Pure. */
import type { MailboxStatus } from '../mailbox/mailbox.ts';
import type { MailboxWarning } from '../mailbox/warning.ts';
import type { Capabilities } from '../pop3/index.ts';
import { warningKeepMs } from './limits.ts';

export interface ServerFindings {
  /** Milliseconds that the server wants between two logins (LOGIN-DELAY, RFC 2449 §6.5). */
  loginGapMs: number;
  /** How long it keeps mail, in days (EXPIRE, RFC 2449 §6.7); infinite where it says nothing. */
  expireDays: number;
  codes: readonly MailboxWarning['code'][];
}

/** What the server says of itself. */
export function findingsOf({ loginDelay, expire }: Pick<Capabilities, 'loginDelay' | 'expire'>): ServerFindings {
  const expireDays = expire?.days ?? Infinity;
  const codes = expireDays === Infinity ? [] : (['mail_expires'] as const);
  return { loginGapMs: (loginDelay?.seconds ?? 0) * 1000, expireDays, codes };
}

export const NO_FINDINGS: ServerFindings = { loginGapMs: 0, expireDays: Infinity, codes: [] };

/** Those that its owner has not been told of. */
export function newWarnings(
  before: Pick<MailboxStatus, 'warnings'>,
  now: Pick<MailboxStatus, 'warnings'>,
): MailboxWarning[] {
  const known = new Set((before.warnings ?? []).map(({ code }) => code));
  return (now.warnings ?? []).filter(({ code }) => !known.has(code));
}

/** @param before what the mailbox was warned of. @param now ISO 8601. */
export function updateWarnings(
  before: readonly MailboxWarning[],
  { codes }: ServerFindings,
  now: string,
): MailboxWarning[] {
  const found = codes.map((code) => {
    const since = before.find((warning) => warning.code === code)?.since ?? now;
    return { code, since, at: now };
  });
  // What was seen once is worth telling for a while; what the server says of itself counts as long as it says so.
  const stillTold = before.filter(
    ({ code, at }) =>
      !codes.includes(code) && code !== 'mail_expires' && Date.parse(now) - Date.parse(at) < warningKeepMs,
  );
  return [...stillTold, ...found];
}
