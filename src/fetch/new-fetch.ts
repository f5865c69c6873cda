/** Makes the record of a fetch, which nothing runs before it is queued. */
import { fetchId } from '../identity.ts';
import type { Mailbox } from '../mailbox/mailbox.ts';
import type { Trace } from '../trace.ts';
import type { FetchStore } from './fetch-store.ts';
import type { Fetch, FetchRequest } from './fetch.ts';

export interface NewFetchPorts {
  clock: { now(): number };
  random(bytes: number): Buffer;
  records: Pick<FetchStore, 'create'>;
  trace?: Pick<Trace, 'traceparent'>;
}

export async function createFetchRecord(ports: NewFetchPorts, tenant: string, request: FetchRequest): Promise<Fetch> {
  const nowMs = ports.clock.now();
  const ref = { tenant, id: fetchId(nowMs, ports.random) };
  const traceparent = ports.trace?.traceparent();
  const traced = { ...request, ...(traceparent && { traceparent }) };
  return ports.records.create(ref, traced, new Date(nowMs).toISOString());
}

/** A fetch by a stored mailbox's settings as they are now. */
export function createFetchOf(
  ports: NewFetchPorts,
  { tenant, mailbox, settings }: Mailbox,
  askedBy: 'owner' | 'schedule',
): Promise<Fetch> {
  const { source, limits, filter, retentionMs, isDryRun, firstFetch } = settings;
  const { ca, ...address } = source;
  return createFetchRecord(ports, tenant, {
    mailboxId: mailbox,
    source: address,
    ca,
    isOfMailbox: true,
    ...(askedBy === 'schedule' && { isScheduled: true }),
    isDryRun,
    firstFetch,
    delete: settings.delete,
    limits,
    ...(filter && { filter }),
    retentionMs,
  });
}
