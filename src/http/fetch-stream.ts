/** `GET /v1/fetches/{id}/stream`: a fetch as it goes on, by server-sent events (HTML Living Standard §9.2). */
import { hasEnded, type FetchRef } from '../fetch/fetch.ts';
import { createEventStreams } from './event-stream.ts';
import { noFetch, renderFetch, type FetchReplyPorts } from './fetch-reply.ts';
import { heartbeatMs, streamEveryMs, streamsAtOnceMax } from './limits.ts';
import type { Handlers } from './route.ts';

export interface FetchStreamPorts {
  fetches: Pick<FetchReplyPorts['fetches'], 'waitForEnd'> & { find(ref: FetchRef): Promise<object | null> };
  webhooks: FetchReplyPorts['webhooks'];
  shutdown: AbortSignal;
  clock: { now(): number };
}

export function fetchStreamHandlers(ports: FetchStreamPorts): Pick<Handlers, 'streamFetch'> {
  const respond = createEventStreams(streamsAtOnceMax, 'fetches are being followed');

  async function* follow(ref: FetchRef, signal: AbortSignal): AsyncGenerator<string, void> {
    let last = '';
    let heartbeatDueMs = ports.clock.now() + heartbeatMs;
    while (!signal.aborted) {
      const fetch = await ports.fetches.waitForEnd(ref, last === '' ? 0 : streamEveryMs, signal);
      if (!fetch) return; // It was deleted.
      const body = JSON.stringify(await renderFetch(ports, fetch));
      const isOver = hasEnded(fetch.state);
      if (body !== last) yield `event: ${isOver ? 'end' : 'progress'}\ndata: ${body}\n\n`;
      else if (ports.clock.now() >= heartbeatDueMs) yield ':\n\n';
      else continue;
      if (isOver) return;
      last = body;
      heartbeatDueMs = ports.clock.now() + heartbeatMs;
    }
  }

  return {
    async streamFetch({ method, principal, path, signal }) {
      const ref = { tenant: principal.tenant, id: path.fetchId };
      if (!(await ports.fetches.find(ref))) throw noFetch(ref.id);
      return respond(method, () => follow(ref, AbortSignal.any([signal, ports.shutdown])));
    },
  };
}
