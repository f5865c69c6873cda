/** What is to become of each message of a batch: under which id, and what of it is here already. It only reads. */
import { createHash } from 'node:crypto';
import { messageId } from '../identity.ts';
import { expiryMarginMs } from './limits.ts';
import type { MessageIndex } from './message-index.ts';
import type { MessageRecord } from './message.ts';
import { digestOf, type NewMessage } from './new-message.ts';
import type { ReadRecord, RecordStore } from './record-store.ts';
import { summarise } from './summary.ts';

export interface BatchPlan {
  message: NewMessage;
  id: string;
  /** This very message, where it is here and stays for a while. */
  held: ReadRecord | null;
  /** What stands under the id and is to be written over: about to expire, or without its bytes. */
  previous: ReadRecord | null;
  /** Another message of the mailbox with the same bytes. */
  first: MessageRecord | null;
}

interface PlanPorts {
  records: Pick<RecordStore, 'read'>;
  index: Pick<MessageIndex, 'findByDigest'>;
  clock: { now(): number };
}

export async function planBatch(
  { records, index, clock }: PlanPorts,
  tenant: string,
  messages: readonly NewMessage[],
): Promise<BatchPlan[]> {
  const lastsMs = clock.now() + expiryMarginMs;
  const lasts = ({ expiresAt }: MessageRecord): boolean => Date.parse(expiresAt) > lastsMs;
  const ids = messages.map(({ mailboxId, identity }) => messageId(mailboxId, identity));
  const found = await records.read(tenant, ids);
  return Promise.all(
    messages.map(async (message, at): Promise<BatchPlan> => {
      const digest = digestOf(message);
      let [id = '', holder = null] = [ids[at], found[at]];
      if (holder?.record.digest && !isSameMail(holder.record, message)) {
        // A unique-id that a server has given to another mail before must not put one in the other's place.
        id = messageId(message.mailboxId, { ...message.identity, digest: digest ?? hash(message.parsed.messageId) });
        [holder = null] = await records.read(tenant, [id]);
      }
      // Less is never put in the place of more: where the whole message is here, its header section is nothing new.
      const isWhole = digest === null && holder !== null && holder.record.digest !== null;
      const isHeld = holder !== null && (isWhole || (lasts(holder.record) && isSame(holder.record, message)));
      const first = digest === null || isHeld ? null : await findFirst(message, id, digest);
      return { message, id, held: isHeld ? holder : null, previous: isHeld ? null : holder, first };
    }),
  );

  async function findFirst({ mailboxId }: NewMessage, id: string, digest: string): Promise<MessageRecord | null> {
    const firstId = await index.findByDigest(tenant, mailboxId, digest);
    if (firstId === null || firstId === id) return null;
    const [first = null] = await records.read(tenant, [firstId]);
    // The index knows the beginning of the digest only.
    return first && first.record.digest === digest && lasts(first.record) ? first.record : null;
  }
}

/** Of a message that is here whole: the same bytes, or the same Message-ID where only the header section came. */
function isSameMail(record: MessageRecord, message: NewMessage): boolean {
  const digest = digestOf(message);
  return digest === null ? record.messageId === summarise(message.parsed).messageId : record.digest === digest;
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The same bytes; or of both only the header section, of messages of one size. */
function isSame(record: MessageRecord, message: NewMessage): boolean {
  const digest = digestOf(message);
  return record.digest === digest && (digest !== null || record.size === message.raw.bytes);
}
