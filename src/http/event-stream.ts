/** Answers of server-sent events (HTML Living Standard §9.2), no more of a kind at once than its bound. */
import { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import { respondWithStream } from './byte-response.ts';

/** @throws AppError `busy`. */
export type RespondWithEvents = (method: string, events: () => AsyncGenerator<string, void>) => Response;

/** @param what of which there are so many, for whoever is refused: `streams are open`. */
export function createEventStreams(max: number, what: string): RespondWithEvents {
  let open = 0;

  async function* counted(events: AsyncGenerator<string, void>): AsyncGenerator<string, void> {
    open += 1;
    try {
      yield* events;
    } finally {
      open -= 1;
    }
  }

  return (method, events) => {
    if (open >= max) throw new AppError('busy', `${max} ${what}, which is as many as can be at once. Try again.`);
    const init = { headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' } };
    if (method !== 'GET') return new Response(null, init);
    return respondWithStream(Readable.from(counted(events())), init);
  };
}
