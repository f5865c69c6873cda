/** `POST /v1/parse`: the parser for mail that popbridge has not fetched, and does not keep. */
import type { components } from '../contract.gen.ts';
import { parsesAtOnceMax } from './limits.ts';
import { presentHtml, type HtmlSanitizer } from './message-view.ts';
import { createRoom } from './room.ts';
import type { Handlers } from './route.ts';

export interface ParsePorts {
  parser: {
    /**
     * Reads the source to its end, or as far as the signal lets it. Nothing in the message makes it throw.
     * @throws what the source throws; AppError `cancelled` where the process stops.
     */
    parse(source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<components['schemas']['ParsedMessage']>;
  };
  sanitizer: HtmlSanitizer;
  /** The largest message that is taken, in bytes. */
  messageBytesMax: number;
}

export function parseHandlers({ parser, sanitizer, messageBytesMax }: ParsePorts): Pick<Handlers, 'parseMessage'> {
  const inRoom = createRoom(parsesAtOnceMax, 'messages', 'parsed');
  return {
    async parseMessage({ body, query, signal }) {
      const parsed = await inRoom(() => parser.parse(body(messageBytesMax), signal));
      return { status: 200, body: await presentHtml(parsed, query?.html ?? 'raw', sanitizer) };
    },
  };
}
