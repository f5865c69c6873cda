/** A parser pool without threads. */
import type { MimePool } from '../../src/mime/pool.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { parseLimits } from '../../src/mime/limits.ts';

export function createMimePool(): Pick<MimePool, 'parse' | 'inHand' | 'close'> {
  return { parse: (raw) => parseMessage(raw, parseLimits), inHand: 0, close: async () => undefined };
}
