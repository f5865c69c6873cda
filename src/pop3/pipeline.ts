/**
 * Many commands under way at once (RFC 2449 §6.6), bounded by a window. It knows how many may be, not what they are.
 *
 * The window is refilled when half of it is used up, in one write. It is bounded in octets, too, by what LIST says of the
 * messages: that much is wasted when the consumer stops, or held up when it is slow.
 */
import type { StatusLine } from './replies.ts';

export interface PipelineWindow {
  /** Commands under way; 1 sends each after the answer to the one before. */
  count: number;
  /** Octets that the answers under way add up to. One command may be under way whatever its size. */
  bytes: number;
}

export interface PipelinedRequest {
  /** Octets of the answer, as far as known. */
  bytes: number;
}

export interface PipelinedReply<Request> {
  request: Request;
  reply: StatusLine;
}

/**
 * Yields the answers in order. `requests` is read no further ahead than the window allows, and may so decide as late as
 * possible what is asked for next.
 * @param send writes a batch at once and gives a promise for the answer to each.
 */
export async function* pipeline<Request extends PipelinedRequest>(
  requests: Iterable<Request>,
  window: PipelineWindow,
  send: (batch: readonly Request[]) => readonly Promise<StatusLine>[],
): AsyncGenerator<PipelinedReply<Request>, void> {
  const source = requests[Symbol.iterator]();
  const underWay: { request: Request; reply: Promise<StatusLine> }[] = [];
  let bytes = 0;
  let refillAt = 0;
  let next = source.next();

  function refill(): void {
    const batch: Request[] = [];
    while (!next.done) {
      const request = next.value;
      const count = underWay.length + batch.length;
      if (count >= window.count || (count > 0 && bytes + request.bytes > window.bytes)) break;
      batch.push(request);
      bytes += request.bytes;
      next = source.next();
    }
    if (batch.length === 0) return;
    for (const [index, reply] of send(batch).entries()) {
      reply.catch(() => undefined); // Awaited in its turn, if its turn comes.
      underWay.push({ request: batch[index] as Request, reply });
    }
    refillAt = Math.floor(underWay.length / 2);
  }

  for (;;) {
    if (underWay.length <= refillAt) refill();
    const first = underWay.shift();
    if (!first) return;
    yield { request: first.request, reply: await first.reply };
    bytes -= first.request.bytes;
  }
}
