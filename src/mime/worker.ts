/** What runs in a thread of the pool. */
import type { MessagePort } from 'node:worker_threads';
import type { ParseLimits } from './limits.ts';
import { readFeed } from './message-feed.ts';
import type { ParsedMessage, ParseWarning } from './message.ts';
import { parseHeaders, parseMessage } from './parse.ts';
import { sanitize, type SanitizedHtml } from './sanitize.ts';

export type ParseTask = { readonly limits: ParseLimits } & (
  | { readonly kind: 'message'; readonly bytes: Uint8Array }
  | { readonly kind: 'stream'; readonly port: MessagePort }
  | { readonly kind: 'headers'; readonly bytes: Uint8Array; readonly reason: ParseWarning }
);

export interface SanitizeTask {
  readonly kind: 'sanitize';
  readonly html: string;
}

export default async function runTask(task: ParseTask): Promise<ParsedMessage>;
export default async function runTask(task: SanitizeTask): Promise<SanitizedHtml>;
export default async function runTask(task: ParseTask | SanitizeTask): Promise<ParsedMessage | SanitizedHtml> {
  if (task.kind === 'sanitize') return sanitize(task.html);
  if (task.kind === 'headers') return parseHeaders(task.bytes, task.reason, task.limits);
  return parseMessage(task.kind === 'stream' ? readFeed(task.port) : task.bytes, task.limits);
}
