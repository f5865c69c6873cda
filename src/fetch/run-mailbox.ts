/**
 * A fetch that the schedule asks for: makes the fetch of a mailbox that is due, and runs it. Called again for the same mailbox, after a
 * pause or a death of the worker, it goes on with the fetch that it had made.
 */
import type { Mailbox, MailboxRef } from '../mailbox/mailbox.ts';
import type { MailboxStore } from '../mailbox/mailbox-store.ts';
import { hasEnded, type Fetch, type FetchRef } from './fetch.ts';
import { mailboxRetryMsMax } from './limits.ts';
import { isFetched, type MailboxSchedule } from './mailbox-schedule.ts';
import { abandonFetch, runFetch, runKnown, type FetchPorts, type NextCall } from './run.ts';
import { NO_FINDINGS } from './mailbox-warnings.ts';

export interface RunMailboxPorts extends FetchPorts {
  schedule: Pick<MailboxSchedule, 'forget' | 'planNext'>;
  stored: Pick<MailboxStore, 'find' | 'lastScheduled' | 'noteScheduled' | 'endScheduled'>;
  /** Writes the record of a fetch by the mailbox's settings. */
  createFetch(mailbox: Mailbox): Promise<Fetch>;
}

export async function runMailbox(ports: RunMailboxPorts, ref: MailboxRef, shutdown: AbortSignal): Promise<NextCall> {
  const mailbox = await ports.stored.find(ref);
  if (!mailbox || !isFetched(mailbox)) {
    await ports.schedule.forget(ref);
    return null;
  }
  const unended = await findUnended(ports, ref);
  const next = unended
    ? await runFetch(ports, unended, shutdown)
    : await runKnown(ports, await begin(ports, mailbox), shutdown);
  if (next === null) await ports.stored.endScheduled(ref);
  return next;
}

/** The queue has given the job up. The mailbox is tried again later. */
export async function abandonMailbox(ports: RunMailboxPorts, ref: MailboxRef): Promise<void> {
  const fetch = await findUnended(ports, ref);
  if (fetch) await abandonFetch(ports, fetch);
  const mailbox = await ports.stored.find(ref);
  if (mailbox) await ports.schedule.planNext(mailbox, mailboxRetryMsMax, NO_FINDINGS);
}

async function findUnended({ records, stored }: RunMailboxPorts, ref: MailboxRef): Promise<FetchRef | null> {
  const id = await stored.lastScheduled(ref);
  const fetch = id === null ? null : await records.find({ tenant: ref.tenant, id });
  return fetch && !hasEnded(fetch.state) ? fetch : null;
}

async function begin({ createFetch, stored }: RunMailboxPorts, mailbox: Mailbox): Promise<Fetch> {
  const fetch = await createFetch(mailbox);
  await stored.noteScheduled(mailbox, fetch.id);
  return fetch;
}
