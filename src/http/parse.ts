/** `POST /v1/parse`: the parser for mail that popbridge has not fetched, and does not keep. */
import type { components } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import { parsesAtOnceMax } from './limits.ts';
import { presentHtml, type HtmlSanitizer } from './message-view.ts';
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
  let underWay = 0;
  return {
    async parseMessage({ body, query, signal }) {
      // Refused rather than queued: the caller holds the message, and can wait as well as we.
      if (underWay >= parsesAtOnceMax) {
        throw new AppError(
          'busy',
          `${parsesAtOnceMax} messages are being parsed, which is as many as can be. Try again.`,
        );
      }
      underWay += 1;
      try {
        const parsed = await parser.parse(body(messageBytesMax), signal);
        return { status: 200, body: await presentHtml(parsed, query?.html ?? 'raw', sanitizer) };
      } finally {
        underWay -= 1;
      }
    },
  };
}
