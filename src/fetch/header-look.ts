/** Header sections ahead of their messages, by TOP (RFC 1939 §7): a filter on header fields saves the rest where it does not want them. */
import type { MessageFilter } from '../mailbox/policies.ts';
import type { HeaderField } from '../mime/message.ts';
import type { Pop3Client } from '../pop3/index.ts';
import { isWantedByHeaders } from './filter.ts';
import { headersBytesMax } from './limits.ts';
import type { PlannedMessage } from './plan.ts';
import { readStart } from './body-bounds.ts';

export interface HeaderLookPorts {
  parse(head: Uint8Array): Promise<{ headers: readonly HeaderField[] }>;
  /** The session broke while this message's was asked for. */
  onBroken(message: PlannedMessage | undefined, error: unknown): Promise<void>;
}

/** RFC 2449 §6.3. A server without CAPA may have it as well. */
export function mayHaveTop({ capabilities }: Pick<Pop3Client, 'capabilities'>): boolean {
  return capabilities.entries.size === 0 || capabilities.has('TOP');
}

/** For each message whether it is wanted; null where the server refuses to say. */
export async function lookAtHeaders(
  client: Pick<Pop3Client, 'topAll'>,
  messages: readonly PlannedMessage[],
  filter: MessageFilter,
  { parse, onBroken }: HeaderLookPorts,
): Promise<(boolean | null)[]> {
  const looked: Promise<boolean | null>[] = [];
  try {
    for await (const { body, error } of client.topAll(messages, 0)) {
      if (error) looked.push(Promise.resolve(null));
      else looked.push(keep(parse(await readStart(body, headersBytesMax)), filter));
    }
  } catch (error) {
    await onBroken(messages[looked.length], error);
    throw error;
  }
  return Promise.all(looked);
}

function keep(parsed: ReturnType<HeaderLookPorts['parse']>, filter: MessageFilter): Promise<boolean> {
  const isWanted = parsed.then(({ headers }) => isWantedByHeaders(filter, headers));
  isWanted.catch(() => undefined); // Looked at when all are there.
  return isWanted;
}
