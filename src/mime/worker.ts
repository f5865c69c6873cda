/** What runs in a thread of the pool. */
import type { ParsedMessage, ParseWarning } from './message.ts';
import { parseHeaders, parseMessage } from './parse.ts';
import { sanitize, type SanitizedHtml } from './sanitize.ts';

export type ParseTask =
  | { readonly kind: 'message'; readonly bytes: Uint8Array }
  | { readonly kind: 'headers'; readonly bytes: Uint8Array; readonly reason: ParseWarning };

export interface SanitizeTask {
  readonly kind: 'sanitize';
  readonly html: string;
}

export default async function runTask(task: ParseTask): Promise<ParsedMessage>;
export default async function runTask(task: SanitizeTask): Promise<SanitizedHtml>;
export default async function runTask(task: ParseTask | SanitizeTask): Promise<ParsedMessage | SanitizedHtml> {
  if (task.kind === 'sanitize') return sanitize(task.html);
  return task.kind === 'message' ? parseMessage(task.bytes) : parseHeaders(task.bytes, task.reason);
}
