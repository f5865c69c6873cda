/** What the record keeps of a parsed message: enough for lists, their filters, and short notices. */
import type { Address, Classification, ParsedMessage } from '../mime/message.ts';
import { recordAddressesMax, recordAttachmentsMax, recordSnippetCharsMax, recordTextCharsMax } from './limits.ts';
import type { MessageIdentityFields, MessageKind, MessageRecord, MessageSummary } from './message.ts';

export function summarise(
  parsed: ParsedMessage,
): Omit<MessageSummary, keyof MessageIdentityFields> & Pick<MessageRecord, 'attachmentIds'> {
  const { derived, classification, attachments } = parsed;
  return {
    messageId: short(parsed.messageId),
    messageIdSynthesised: parsed.messageIdSynthesised,
    date: parsed.date,
    receivedAt: derived.receivedAt,
    subject: parsed.subject === null ? null : short(parsed.subject),
    from: shortList(parsed.from),
    to: shortList(parsed.to),
    cc: shortList(parsed.cc),
    threadKey: derived.threadKey,
    attachmentCount: attachments.length,
    kinds: listKinds(classification),
    parseStatus: parsed.parse.status,
    snippet: parsed.snippet.slice(0, recordSnippetCharsMax).toWellFormed(),
    attachmentIds: attachments.slice(0, recordAttachmentsMax).map(({ id }) => id),
  };
}

function listKinds(classification: Classification): MessageKind[] {
  const { security } = classification;
  const kinds: Record<MessageKind, boolean> = {
    auto_reply: classification.autoReply !== null,
    bulk: classification.bulk,
    list: classification.list !== null,
    delivery_status: classification.deliveryStatus !== null,
    feedback: classification.feedback !== null,
    read_receipt: classification.readReceipt !== null,
    calendar: classification.calendarMethod !== null,
    signed: security?.endsWith('-signed') ?? false,
    encrypted: security?.endsWith('-encrypted') ?? false,
  };
  return (Object.keys(kinds) as MessageKind[]).filter((kind) => kinds[kind]);
}

function shortList(addresses: readonly Address[]): Address[] {
  return addresses.slice(0, recordAddressesMax).map(({ name, address, group }) => ({
    name: shortOrNull(name),
    address: shortOrNull(address),
    group: shortOrNull(group),
  }));
}

function shortOrNull(text: string | null): string | null {
  return text === null ? null : short(text);
}

function short(text: string): string {
  return text.slice(0, recordTextCharsMax).toWellFormed();
}
