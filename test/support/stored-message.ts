/** A message as it is when it has been stored, made from a mail by the real parser. */
import type { Message } from '../../src/message/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { toPublicMessage } from '../../src/mime/public-message.ts';

export async function makeStoredMessage(raw: Buffer, over: Partial<Message> = {}): Promise<Message> {
  return {
    id: `msg_${'0'.repeat(32)}`,
    mailboxId: `mbx_${'1'.repeat(32)}`,
    fetchId: `fch_${'1'.repeat(26)}`,
    uidl: 'uid-1',
    size: raw.length,
    digest: '0'.repeat(64),
    fetchedAt: '2026-11-23T12:00:00.000Z',
    expiresAt: '2026-11-30T12:00:00.000Z',
    acknowledgedAt: null,
    duplicateOf: null,
    omitted: null,
    ...toPublicMessage(await parseMessage(raw)),
    ...over,
  };
}
