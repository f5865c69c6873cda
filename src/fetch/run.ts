/**
 * Runs a fetch: one attempt of it, from the maildrop's lease and the host's slot to the record of how it ended. Knows no queue: it says
 * whether, and when, it wants to be called again.
 *
 * What goes wrong in a fetch is written to its record. What is thrown from here could not be written.
 */
import type { Logger } from 'pino';
import { toError } from '../errors.ts';
import type { Credentials } from '../mailbox/credentials.ts';
import type { Mailbox, MailboxRef, MailboxStatus } from '../mailbox/mailbox.ts';
import type { CredentialHolder, Logins } from '../mailbox/oauth2/logins.ts';
import { OAuth2Error } from '../mailbox/oauth2/oauth2-error.ts';
import { maildropOf } from '../mailbox/source.ts';
import { Pop3CommandError, Pop3Error } from '../pop3/index.ts';
import { busyWaitMs } from './busy-wait.ts';
import type { AttemptEnd, FetchStore } from './fetch-store.ts';
import { hasEnded, type Failure, type Fetch, type FetchRef } from './fetch.ts';
import { codeOf, describeEnd, describeFailure, isSilence, now, silence, type FailurePorts } from './failure.ts';
import type { AttemptOutcome } from './observer.ts';
import { openFetchBook, openMailboxBook, type Book } from './book.ts';
import { isBusy, type Busy, type HostSlot, type HostSlots } from './host-slots.ts';
import type { Lease, Leases } from './lease.ts';
import { deadHostWaitMs, leaseRecheckMsMax, leaseRecheckMsMin, leaseWaitMs } from './limits.ts';
import type { MailboxLedger } from './mailbox-ledger.ts';
import { settleMailbox, type NextFetch } from './mailbox-outcome.ts';
import { newWarnings, NO_FINDINGS, type ServerFindings } from './mailbox-warnings.ts';
import { untraced } from '../trace.ts';
import { nextAttempt } from './outcome.ts';
import { FetchSession, type SessionPorts } from './session.ts';
import type { Shutdown } from './shutdown.ts';
import { superviseSession } from './supervision.ts';

export interface FetchPorts extends Omit<SessionPorts, 'records'>, FailurePorts {
  records: FetchStore;
  leases: Leases;
  hosts: HostSlots;
  mailboxes: MailboxPorts;
  credentials: {
    /** @throws AppError `credentials_unavailable`. */
    open(ref: FetchRef): Promise<Credentials>;
    replace(ref: FetchRef, was: Credentials, now: Credentials): Promise<boolean>;
    delete(ref: FetchRef): Promise<void>;
  };
  logins: Pick<Logins, 'open'>;
  logger: Logger;
  uniqueId(): string;
}

/** What a fetch needs of the stored mailbox that it is of. */
export interface MailboxPorts {
  ledger: MailboxLedger;
  find(ref: MailboxRef): Promise<Mailbox | null>;
  /** Takes it for a fetch. Null where it is gone, or another fetch has it by now. */
  begin(ref: MailboxRef, token: number): Promise<Mailbox | null>;
  /** @throws AppError `credentials_unavailable`. */
  openCredentials(ref: MailboxRef): Promise<Credentials>;
  replaceCredentials(ref: MailboxRef, was: Credentials, now: Credentials): Promise<boolean>;
  /** False where its owner has changed it meanwhile, and that counts. @throws AppError `lease_lost` when fenced off. */
  writeStatus(ref: MailboxRef, token: number, status: MailboxStatus, updatedAt: string): Promise<boolean>;
  /** Says when it is to be fetched next; see `settleMailbox`. */
  planNext(mailbox: Mailbox, retryMs: NextFetch['retryMs'], server: ServerFindings): Promise<void>;
}

/** Null: the fetch has ended. */
export type NextCall = { delayMs: number } | null;

/** @param shutdown ends a running session; what it leaves off is then wanted again at once. */
export async function runFetch(ports: FetchPorts, ref: FetchRef, shutdown: Shutdown): Promise<NextCall> {
  const { records } = ports;
  const known = await records.find(ref);
  if (!known || hasEnded(known.state)) {
    if (known?.isOfMailbox) await retellState(ports, known);
    await ports.credentials.delete(ref);
    return null;
  }
  if (await records.isCancelRequested(ref)) {
    await endWithoutLease(ports, ref, { state: 'cancelled', error: null, endedAt: now(ports) });
    return null;
  }
  return runKnown(ports, known, shutdown);
}

/** Of one that was looked up, or made, a moment ago. */
export function runKnown(ports: FetchPorts, known: Fetch, shutdown: Shutdown): Promise<NextCall> {
  const { trace = untraced } = ports;
  const attributes = {
    'popbridge.tenant': known.tenant,
    'popbridge.fetch.id': known.id,
    'popbridge.mailbox.id': known.mailboxId,
  };
  const span = { name: 'fetch.run', kind: 'consumer', parent: known.traceparent, attributes } as const;
  return trace.span(span, () => runLeased(ports, known, shutdown));
}

async function runLeased(ports: FetchPorts, known: Fetch, shutdown: Shutdown): Promise<NextCall> {
  const { tenant, source } = known;
  const lease = await ports.leases.acquire(tenant, maildropOf(tenant, source), ports.uniqueId());
  if (!lease) return waitForLease(ports, known);
  try {
    return await runOnHost(ports, known, lease, shutdown);
  } finally {
    await lease
      .release()
      .catch((error: unknown) => ports.logger.warn({ err: error, ...idsOf(known) }, 'The lease was not released'));
  }
}

/** The slot is the last that is taken, and nothing is waited for while anything is held: whoever is refused lets all go. */
async function runOnHost(ports: FetchPorts, known: Fetch, lease: Lease, shutdown: Shutdown): Promise<NextCall> {
  const { tenant, source } = known;
  const ageMs = ageOf(ports, known);
  const slot = await ports.hosts.acquire({
    tenant,
    host: source.host,
    port: source.port,
    owner: ports.uniqueId(),
    waitMsMin: busyWaitMs(ageMs),
  });
  if (isBusy(slot)) {
    if (!slot.isSilent || ageMs < deadHostWaitMs) return waitForHost(ports, known, slot);
    return begin(ports, known, { lease, slot: null }, shutdown);
  }
  try {
    return await begin(ports, known, { lease, slot }, shutdown);
  } finally {
    await slot
      .release()
      .catch((error: unknown) => ports.logger.warn({ err: error, ...idsOf(known) }, 'The slot was not released'));
  }
}

/** What a session runs on. */
interface Held {
  lease: Lease;
  /** Null where the host has been silent for too long: the attempt fails with that. */
  slot: HostSlot | null;
}

async function begin(ports: FetchPorts, ref: FetchRef, held: Held, shutdown: Shutdown): Promise<NextCall> {
  const { records } = ports;
  const fetch = await records.begin(ref, held.lease.token, now(ports));
  if (fetch?.isOfMailbox) return attemptOfMailbox(ports, fetch, held, shutdown);
  if (fetch) return (await attempt(ports, fetch, held, shutdown, openFetch(ports, fetch, held.lease))).next;
  const current = await records.find(ref);
  return current && !hasEnded(current.state) ? { delayMs: leaseRecheckMsMax } : null;
}

/** A busy host is nothing to tell of; that a host does not answer is. */
async function waitForHost(ports: FetchPorts, fetch: Fetch, { retryAfterMs, isSilent }: Busy): Promise<NextCall> {
  const error = isSilent ? describeFailure(ports, silence(fetch), 'upstream_timeout', retryAfterMs) : fetch.error;
  if (isSilent || fetch.state === 'active') {
    await ports.records.end(fetch, ['queued', 'active'], { state: 'queued', error, endedAt: null });
  }
  return { delayMs: retryAfterMs };
}

/** What an attempt works with: where its credentials and its ledger are. */
interface Access {
  book: Book;
  holder: CredentialHolder;
}

function openFetch(ports: FetchPorts, fetch: Fetch, { token }: Lease): Access {
  return {
    book: openFetchBook(ports.records, fetch, token),
    holder: {
      tenant: fetch.tenant,
      id: fetch.id,
      open: () => ports.credentials.open(fetch),
      replace: (was, now) => ports.credentials.replace(fetch, was, now),
    },
  };
}

async function attemptOfMailbox(ports: FetchPorts, fetch: Fetch, held: Held, shutdown: Shutdown): Promise<NextCall> {
  const { mailboxes, records, clock } = ports;
  const { lease } = held;
  const ref = { tenant: fetch.tenant, mailbox: fetch.mailboxId };
  const mailbox = await mailboxes.begin(ref, lease.token);
  if (!mailbox) {
    await records.finish(fetch, lease.token, { state: 'cancelled', error: null, endedAt: now(ports) });
    return null;
  }
  const { end, next, server, isQuiet } = await attempt(ports, fetch, held, shutdown, {
    book: openMailboxBook(mailboxes.ledger, fetch, lease.token, clock),
    holder: {
      tenant: fetch.tenant,
      id: fetch.mailboxId,
      open: () => mailboxes.openCredentials(ref),
      replace: (was, now) => mailboxes.replaceCredentials(ref, was, now),
    },
  });
  if (next !== null || end === null) return next;
  const { retrieved = 0, omitted = 0, limitReached = null } = (isQuiet ? null : await records.find(fetch)) ?? {};
  const outcome = { fetchId: fetch.id, end, retrieved: retrieved + omitted, isLimited: limitReached !== null, server };
  const { status, retryMs } = settleMailbox(mailbox.status, outcome, now(ports));
  if (isForgotten(fetch, isQuiet)) {
    // With something to tell of, it is forgotten once that is told.
    const isTold = status.state !== mailbox.status.state || newWarnings(mailbox.status, status).length > 0;
    await (isTold ? records.finish(fetch, lease.token, end) : records.forget(fetch, lease.token));
  }
  if (await mailboxes.writeStatus(ref, lease.token, status, mailbox.updatedAt)) {
    await mailboxes.planNext({ ...mailbox, status }, retryMs, server);
    await tellChanges(ports, mailbox, status, fetch.id);
  }
  return null;
}

/** The state that it has come to, and what its owner was not warned of before. */
async function tellChanges(ports: FetchPorts, before: Mailbox, status: MailboxStatus, fetchId: string): Promise<void> {
  const mailbox = { ...before, status };
  if (status.state !== before.status.state) await tellState(ports, mailbox, fetchId);
  for (const warning of newWarnings(before.status, status)) await ports.announce.warned(mailbox, warning, fetchId);
}

/** A mailbox that is paused stays so for whoever looks at it. */
async function tellState({ announce }: FetchPorts, mailbox: Mailbox, fetchId: string): Promise<void> {
  if (!mailbox.settings.isPaused) await announce.changedState(mailbox, fetchId);
}

/** Whoever ran the fetch may have died before they told what it has made of its mailbox. */
export async function retellState(ports: FetchPorts, fetch: Fetch): Promise<void> {
  const mailbox = await ports.mailboxes.find({ tenant: fetch.tenant, mailbox: fetch.mailboxId });
  if (mailbox?.status.lastFetch?.id !== fetch.id) return;
  const { since, lastFetch, warnings = [] } = mailbox.status;
  if (lastFetch.endedAt === since) await tellState(ports, mailbox, fetch.id);
  const seenFirst = warnings.filter((warning) => warning.since === lastFetch.endedAt);
  for (const warning of seenFirst) await ports.announce.warned(mailbox, warning, fetch.id);
}

/** Of very many that the schedule asks for and that find nothing, nobody wants the record: the mailbox says how it stands. */
function isForgotten({ isScheduled }: Fetch, isQuiet: boolean): boolean {
  return isQuiet && isScheduled === true;
}

interface Attempted {
  /** Null where the lease was lost: another says how it ends. */
  end: AttemptEnd | null;
  next: NextCall;
  server: ServerFindings;
  isQuiet: boolean;
}

async function attempt(
  ports: FetchPorts,
  fetch: Fetch,
  { lease, slot }: Held,
  shutdown: Shutdown,
  { book, holder }: Access,
): Promise<Attempted> {
  const { records, logger } = ports;
  const supervision = superviseSession({
    holds: [
      { renew: lease.renew, whenLost: 'Another worker has taken the maildrop over.' },
      ...(slot
        ? [{ renew: slot.renew, whenLost: 'The slot at the mail server was lost: this process stood still.' }]
        : []),
    ],
    sessionSeconds: fetch.limits.seconds,
    isCancelRequested: () => records.isCancelRequested(fetch),
    shutdown: shutdown.cut,
    clock: ports.clock,
  });
  let session: FetchSession | undefined;
  let end: AttemptEnd;
  let delayMs: number | null = null;
  let isConnected = false;
  const noteAnswer = async (hasAnswered: boolean): Promise<void> =>
    slot
      ?.noteAnswer(hasAnswered)
      .catch((error: unknown) =>
        logger.warn({ err: error, ...idsOf(fetch) }, 'Whether the host answers was not noted'),
      );
  try {
    if (!slot) throw silence(fetch);
    const login = await ports.logins.open(holder, supervision.signal);
    session = new FetchSession(ports, {
      fetch,
      token: lease.token,
      book,
      login,
      signal: supervision.signal,
      windUp: shutdown.windUp,
      onConnected() {
        isConnected = true;
        void noteAnswer(true);
      },
    });
    const isDone = await session.run();
    end = isDone ? { state: 'succeeded', error: null, endedAt: now(ports) } : INTERRUPTED;
    if (!isDone) delayMs = 0;
  } catch (thrown) {
    const code = codeOf(ports, thrown);
    if (!isConnected && thrown instanceof Pop3Error) await noteAnswer(!isSilence(thrown));
    const stopped = shutdown.cut.aborted && thrown === shutdown.cut.reason;
    if (code === 'lease_lost' && !stopped) {
      ports.observer?.observeAttempt('lost', code);
      return { end: null, next: { delayMs: leaseRecheckMsMin }, server: NO_FINDINGS, isQuiet: false };
    }
    if (code === 'internal_error' && !stopped) logger.error({ err: thrown, ...idsOf(fetch) }, 'Fetch failed');
    const fruitless = session && session.settled > 0 ? 0 : fetch.fruitless + 1;
    const hadBegun = session?.hadBegun ?? false;
    const { attempts } = fetch;
    const isTold = thrown instanceof Pop3CommandError || thrown instanceof OAuth2Error;
    const retryAfterMs = isTold ? thrown.retryAfterMs : null;
    const facts = { attempts, fruitless, hadBegun, ageMs: ageOf(ports, fetch), retryAfterMs };
    delayMs = stopped ? 0 : nextAttempt(code, facts);
    end = stopped ? INTERRUPTED : { ...describeEnd(ports, toError(thrown), code, delayMs), fruitless };
  } finally {
    await supervision.stop();
  }
  const isQuiet = end.state === 'succeeded' && session?.isQuiet === true;
  if (!isForgotten(fetch, isQuiet)) await records.finish(fetch, lease.token, end, session?.unwritten);
  const { state, error } = end;
  ports.observer?.observeAttempt(outcomeOf(end), error?.code ?? null);
  ports.trace?.note({ 'popbridge.fetch.outcome': outcomeOf(end), ...(error && { 'error.type': error.code }) });
  logger[isQuiet ? 'debug' : 'info'](
    { ...idsOf(fetch), state, code: error?.code, detail: error?.detail },
    'Fetch attempt ended',
  );
  const server = session?.findings ?? NO_FINDINGS;
  if (delayMs !== null) return { end, next: { delayMs }, server, isQuiet };
  if (!fetch.isOfMailbox) await ports.credentials.delete(fetch);
  return { end, next: null, server, isQuiet };
}

/** By this process, which stops: another one goes on. */
const INTERRUPTED: AttemptEnd = { state: 'queued', error: null, endedAt: null };

/** As the log has them everywhere. */
function idsOf({ tenant, id }: FetchRef): { tenant: string; fetchId: string } {
  return { tenant, fetchId: id };
}

function outcomeOf({ state, error }: AttemptEnd): AttemptOutcome {
  if (state === 'queued') return error ? 'retried' : 'interrupted';
  return state === 'active' ? 'interrupted' : state;
}

async function waitForLease(ports: FetchPorts, fetch: Fetch): Promise<NextCall> {
  ports.observer?.observeContention();
  const ageMs = ageOf(ports, fetch);
  if (ageMs < leaseWaitMs) return { delayMs: Math.min(leaseRecheckMsMin + ageMs / 10, leaseRecheckMsMax) };
  const error: Failure = {
    code: 'upstream_locked',
    detail: 'Another fetch holds this maildrop, and has for an hour.',
    phase: null,
    retryable: true,
    nextAttemptAt: null,
  };
  await endWithoutLease(ports, fetch, { state: 'failed', error, endedAt: now(ports) });
  return null;
}

function ageOf({ clock }: FetchPorts, fetch: Fetch): number {
  return Math.max(0, clock.now() - Date.parse(fetch.createdAt)); // Another machine's clock may be ahead.
}

/** The queue has given the job up, and nobody will run this fetch again: the record must say so. */
export async function abandonFetch(ports: FetchPorts, ref: FetchRef): Promise<void> {
  const error: Failure = {
    code: 'internal_error',
    detail: 'The fetch was given up: it was taken up too often, or its workers died of it. What it had stored is kept.',
    phase: null,
    retryable: true,
    nextAttemptAt: null,
  };
  await endWithoutLease(ports, ref, { state: 'failed', error, endedAt: now(ports) });
}

async function endWithoutLease(ports: FetchPorts, ref: FetchRef, end: AttemptEnd): Promise<void> {
  const { records, credentials } = ports;
  const hasEnded = await records.end(ref, ['queued', 'active'], end);
  if (hasEnded) ports.observer?.observeAttempt(outcomeOf(end), end.error?.code ?? null);
  await credentials.delete(ref);
}
