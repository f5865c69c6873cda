/**
 * A fetch that the schedule asks for: makes the fetch of a mailbox that is due, and runs it. Called again for the same mailbox, after a
 * pause or a death of the worker, it goes on with the fetch that it had made.
 */
import type { Mailbox, MailboxRef } from '../mailbox/mailbox.ts';
import type { MailboxStore } from '../mailbox/mailbox-store.ts';
import { hasEnded, type Fetch } from './fetch.ts';
import { mailboxRetryMsMax } from './limits.ts';
import { isFetched, type MailboxSchedule } from './mailbox-schedule.ts';
import { NO_FINDINGS } from './mailbox-warnings.ts';
import { abandonFetch, retellState, runFetch, runKnown, type FetchPorts, type NextCall } from './run.ts';
import type { Shutdown } from './shutdown.ts';
import { tellEnd } from './run-asked.ts';

export interface RunMailboxPorts extends FetchPorts {
  schedule: Pick<MailboxSchedule, 'forget' | 'planNext'>;
  stored: Pick<MailboxStore, 'find' | 'lastScheduled' | 'noteScheduled' | 'endScheduled'>;
  /** Writes the record of a fetch by the mailbox's settings. */
  createFetch(mailbox: Mailbox): Promise<Fetch>;
}

export async function runMailbox(ports: RunMailboxPorts, ref: MailboxRef, shutdown: Shutdown): Promise<NextCall> {
  const mailbox = await ports.stored.find(ref);
  if (!mailbox || !isFetched(mailbox)) {
    await ports.schedule.forget(ref);
    return null;
  }
  const last = await findLast(ports, ref);
  if (last && hasEnded(last.state)) {
    // Its worker died before all was told.
    await retellState(ports, last);
    await end(ports, last);
  }
  const unended = last && !hasEnded(last.state) ? last : null;
  const fetch = unended ?? (await begin(ports, mailbox));
  const next = await (unended ? runFetch(ports, fetch, shutdown) : runKnown(ports, fetch, shutdown));
  if (next === null) {
    await end(ports, await ports.records.find(fetch));
    await ports.stored.endScheduled(ref);
  }
  return next;
}

/** The queue has given the job up. The mailbox is tried again later. */
export async function abandonMailbox(ports: RunMailboxPorts, ref: MailboxRef): Promise<void> {
  const fetch = await findLast(ports, ref);
  if (fetch && !hasEnded(fetch.state)) {
    await abandonFetch(ports, fetch);
    await tellEnd(ports, await ports.records.find(fetch));
  }
  await ports.stored.endScheduled(ref);
  const mailbox = await ports.stored.find(ref);
  if (mailbox) await ports.schedule.planNext(mailbox, mailboxRetryMsMax, NO_FINDINGS);
}

async function findLast({ records, stored }: RunMailboxPorts, ref: MailboxRef): Promise<Fetch | null> {
  const id = await stored.lastScheduled(ref);
  return id === null ? null : records.find({ tenant: ref.tenant, id });
}

async function begin({ createFetch, stored }: RunMailboxPorts, mailbox: Mailbox): Promise<Fetch> {
  const fetch = await createFetch(mailbox);
  await stored.noteScheduled(mailbox, fetch.id);
  return fetch;
}

/** Of very many fetches that find nothing new, nobody wants the record, or to hear of them; the mailbox says how it stands. */
async function end(ports: RunMailboxPorts, fetch: Fetch | null): Promise<void> {
  if (!fetch || !hasEnded(fetch.state)) return;
  const { retrieved, omitted, failed, deleted, deletion } = fetch;
  const isQuiet = retrieved + omitted + failed + deleted === 0 && deletion === 'none';
  if (isQuiet && fetch.state === 'succeeded') await ports.records.delete(fetch);
  else await tellEnd(ports, fetch);
}
