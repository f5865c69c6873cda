/** What runs in a thread of the pool. */
import type { ParsedMessage, ParseWarning } from './message.ts';
import { parseHeaders, parseMessage } from './parse.ts';

export type ParseTask =
  | { readonly kind: 'message'; readonly bytes: Uint8Array }
  | { readonly kind: 'headers'; readonly bytes: Uint8Array; readonly reason: ParseWarning };

export default async function runTask(task: ParseTask): Promise<ParsedMessage> {
  return task.kind === 'message' ? parseMessage(task.bytes) : parseHeaders(task.bytes, task.reason);
}
