/** How a fetch is answered that was queued just now, and who waits for its end. */
import type { components } from '../contract.gen.ts';
import { hasEnded, type Fetch, type FetchRef } from '../fetch/fetch.ts';
import type { FetchService } from '../fetch/service.ts';
import type { DeliverySummary } from '../webhook/fetch-webhooks.ts';
import { AppError } from '../errors.ts';
import { waitSecondsMax } from './limits.ts';

type FetchBody = components['schemas']['Fetch'];

export interface FetchReplyPorts {
  fetches: Pick<FetchService, 'waitForEnd'>;
  webhooks: { summarise(ref: FetchRef): Promise<DeliverySummary | null> };
  /** Aborted when the process stops: who waits is answered at once. */
  shutdown: AbortSignal;
}

interface Reply<Status> {
  status: Status;
  headers: Record<string, string>;
  body: FetchBody;
}

/** 200 where it has ended. */
type FetchReply = Reply<200> | Reply<202>;

/** @param seconds null where the caller does not ask to wait. */
export async function replyWithFetch(
  ports: FetchReplyPorts,
  created: Fetch,
  seconds: number | null,
  signal: AbortSignal,
): Promise<FetchReply> {
  const fetch = seconds === null ? created : await waitForEnd(ports, created, seconds, signal);
  if (!fetch) throw noFetch(created.id);
  const headers = { location: `/v1/fetches/${fetch.id}`, ...applied(seconds) };
  const body = await renderFetch(ports, fetch);
  return hasEnded(fetch.state) ? { status: 200, headers, body } : { status: 202, headers, body };
}

export function waitForEnd(
  { fetches, shutdown }: FetchReplyPorts,
  ref: FetchRef,
  seconds: number,
  signal: AbortSignal,
): Promise<Fetch | null> {
  return fetches.waitForEnd(ref, seconds * 1000, AbortSignal.any([signal, shutdown]));
}

export async function renderFetch({ webhooks }: Pick<FetchReplyPorts, 'webhooks'>, fetch: Fetch): Promise<FetchBody> {
  return toBody(fetch, await webhooks.summarise(fetch));
}

/** RFC 7240 §4.3; what follows a semicolon belongs to another preference. Null where the caller does not ask to wait. */
export function readWait(prefer: string | undefined): number | null {
  const seconds = /(?:^|,)\s*wait\s*=\s*"?(\d+)"?\s*(?:[,;]|$)/i.exec(prefer ?? '')?.[1];
  return seconds === undefined ? null : Math.min(Number(seconds), waitSecondsMax);
}

export function applied(seconds: number | null): Record<string, string> {
  return seconds === null ? {} : { 'preference-applied': `wait=${seconds}` };
}

export function noFetch(id: string): AppError {
  return new AppError('not_found', `There is no fetch ${id}, or no longer.`);
}

function toBody(fetch: Fetch, webhook: DeliverySummary | null): FetchBody {
  const { id, state, mailboxId, source, limits, deletion, limitReached, error, failures, attempts } = fetch;
  return {
    id,
    state,
    mailboxId,
    source,
    delete: fetch.delete,
    dryRun: fetch.isDryRun,
    limits,
    filter: fetch.filter ?? null,
    counts: {
      listed: fetch.listed,
      retrieved: fetch.retrieved,
      omitted: fetch.omitted,
      skipped: fetch.skipped,
      filtered: fetch.filtered,
      failed: fetch.failed,
      deletable: fetch.deletable,
      deleted: fetch.deleted,
    },
    bytes: { listed: fetch.listedBytes, retrieved: fetch.retrievedBytes },
    deletion,
    limitReached,
    error,
    failures,
    attempts,
    timings: {
      createdAt: fetch.createdAt,
      startedAt: fetch.startedAt,
      endedAt: fetch.endedAt,
      phases: fetch.phases,
    },
    webhook,
  };
}
