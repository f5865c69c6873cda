/**
 * A mailbox: upstream settings that are kept, with sealed credentials, and fetched again and again. This folder owns what a mailbox is
 * and where it is stored. It runs no fetch and keeps no ledger: `fetch/` does.
 */
import type { GrantFacts } from './oauth2/grant.ts';
import type { TlsMode } from './source.ts';
import type { MailboxWarning } from './warning.ts';
import type { DeletePolicy, FetchLimits, FirstFetch, MessageFilter, ScheduleSettings } from './policies.ts';

export interface MailboxRef {
  tenant: string;
  mailbox: string;
}

export interface MailboxSource {
  host: string;
  port: number;
  tls: TlsMode;
  username: string;
  /** PEM; see the contract. */
  ca: string | null;
}

/** What the owner says. */
export interface MailboxSettings {
  /** For people; popbridge makes nothing of it. */
  name: string | null;
  source: MailboxSource;
  /** What may be shown of its grant; a password has none. */
  oauth2?: GrantFacts;
  /** Null: it is fetched when somebody asks. */
  schedule: ScheduleSettings | null;
  isPaused: boolean;
  firstFetch: FirstFetch;
  delete: DeletePolicy;
  /** Nothing is deleted upstream; fetches say how many messages would be. */
  isDryRun: boolean;
  limits: FetchLimits;
  /** Absent: all mail is wanted. */
  filter?: MessageFilter | undefined;
  /** How long its messages are kept. */
  retentionMs: number;
}

/** What a fetch tells of a failure. */
export interface MailboxFailure {
  code: string;
  detail: string;
  phase: string | null;
}

/** How it stands. Times are ISO 8601. */
export interface MailboxStatus {
  state: 'ok' | 'retrying' | 'needs_credentials' | 'blocked';
  since: string;
  /** Why it is not `ok`. */
  failure: MailboxFailure | null;
  /** Fetches in a row that failed, and logins in a row that were refused. */
  failures: number;
  refusals: number;
  lastFetch: { id: string; state: string; endedAt: string } | null;
  lastSuccessAt: string | null;
  /** Fetches in a row that found no new mail. */
  quietFetches: number;
  /** Absent: none. */
  warnings?: readonly MailboxWarning[];
}

export interface Mailbox extends MailboxRef {
  settings: MailboxSettings;
  status: MailboxStatus;
  createdAt: string;
  updatedAt: string;
}

/** Of one that was made, changed or resumed just now. */
export function freshStatus(now: string): MailboxStatus {
  return {
    state: 'ok',
    since: now,
    failure: null,
    failures: 0,
    refusals: 0,
    lastFetch: null,
    lastSuccessAt: null,
    quietFetches: 0,
  };
}

/** As its owner sees it. */
export type MailboxState = MailboxStatus['state'] | 'paused';

export function stateOf({ settings, status }: Pick<Mailbox, 'settings' | 'status'>): MailboxState {
  return settings.isPaused ? 'paused' : status.state;
}
