/** A fetch that somebody has asked for: runs it, and tells how it has ended, whatever it has found. */
import { untraced } from '../trace.ts';
import { hasEnded, type Fetch, type FetchRef } from './fetch.ts';
import { abandonFetch, runFetch, type FetchPorts, type NextCall } from './run.ts';
import type { Shutdown } from './shutdown.ts';

export async function runAskedFetch(ports: FetchPorts, ref: FetchRef, shutdown: Shutdown): Promise<NextCall> {
  const next = await runFetch(ports, ref, shutdown);
  if (next === null) await tellEnd(ports, await ports.records.find(ref));
  return next;
}

/** The queue has given the job up. */
export async function abandonAskedFetch(ports: FetchPorts, ref: FetchRef): Promise<void> {
  await abandonFetch(ports, ref);
  await tellEnd(ports, await ports.records.find(ref));
}

/** Whoever cancels a fetch knows. Told again after a crash, it has the same id. */
export async function tellEnd(
  { announce, trace = untraced }: Pick<FetchPorts, 'announce' | 'trace'>,
  fetch: Fetch | null,
): Promise<void> {
  if (!fetch || !hasEnded(fetch.state) || fetch.state === 'cancelled') return;
  const attributes = { 'popbridge.tenant': fetch.tenant, 'popbridge.fetch.id': fetch.id };
  await trace.span({ name: 'fetch.end', parent: fetch.traceparent, attributes }, () => announce.ended(fetch));
}
