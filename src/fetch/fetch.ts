/** A fetch: one run against a mailbox, which is stored, or whose settings are given inline. */
import type { FailureCode } from '../errors.ts';
import type { DeletePolicy, FetchLimits, FirstFetch, MessageFilter } from '../mailbox/policies.ts';
import type { Pop3Phase } from '../pop3/errors.ts';
import type { TlsMode } from '../pop3/index.ts';

export type FetchState = 'queued' | 'active' | 'succeeded' | 'failed' | 'cancelled';

export interface FetchSource {
  host: string;
  port: number;
  tls: TlsMode;
  username: string;
}

/** What was asked for. It never changes. */
export interface FetchRequest {
  mailboxId: string;
  source: FetchSource;
  /** PEM; see the contract. */
  ca: string | null;
  delete: DeletePolicy;
  /** Nothing is deleted upstream. */
  isDryRun: boolean;
  /** Of a stored mailbox, whose credentials and ledger it uses; else all that it needs was given with it. */
  isOfMailbox: boolean;
  /** Of a mailbox, and asked for by its schedule: there is no record of it once it has ended and was quiet. */
  isScheduled?: true;
  /** What it takes of a maildrop that no fetch has seen before; of a stored mailbox. */
  firstFetch: FirstFetch;
  limits: FetchLimits;
  /** Absent: all mail is wanted. */
  filter?: MessageFilter;
  /** Milliseconds that the fetch and its messages are kept. */
  retentionMs: number;
  /** W3C: the request that has asked for it, where that is traced. */
  traceparent?: string;
}

export interface Failure {
  code: FailureCode;
  detail: string;
  /** `token`: before the session, at the token endpoint. */
  phase: Pop3Phase | 'token' | null;
  retryable: boolean;
  /** ISO 8601; null when there is no further attempt. */
  nextAttemptAt: string | null;
}

export interface MessageFailure {
  number: number;
  uidl: string | null;
  code: FailureCode;
  detail: string;
}

export interface PhaseTimings {
  connectMs?: number;
  loginMs?: number;
  listMs?: number;
  retrieveMs?: number;
  deleteMs?: number;
}

/** What has come of it so far. Times are ISO 8601. */
export interface FetchProgress {
  listed: number;
  listedBytes: number;
  retrieved: number;
  retrievedBytes: number;
  /** Messages of which only the header section was taken. */
  omitted: number;
  skipped: number;
  /** Messages that the filter does not want, found out by this fetch. */
  filtered: number;
  failed: number;
  /** Messages that the policy lets go: as many are asked to be deleted, unless it is a dry run. */
  deletable: number;
  deleted: number;
  deletion: 'none' | 'confirmed' | 'unknown';
  limitReached: 'messages' | 'bytes' | 'seconds' | null;
  failures: readonly MessageFailure[];
  phases: PhaseTimings;
}

export interface Fetch extends FetchRequest, FetchProgress {
  id: string;
  tenant: string;
  state: FetchState;
  error: Failure | null;
  attempts: number;
  /** The latest attempts in a row that settled no message. */
  fruitless: number;
  createdAt: string;
  startedAt: string | null;
  endedAt: string | null;
}

export interface FetchRef {
  tenant: string;
  id: string;
}

export function hasEnded(state: FetchState): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}
