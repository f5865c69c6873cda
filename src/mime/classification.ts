/**
 * What kind of mail a message is, by what the RFCs let its sender say of it: an automatic reply, list or bulk mail, a delivery
 * report, a read receipt, a complaint, an invitation, signed or encrypted. All of it is the sender's claim.
 */
import libmime from 'libmime';
import type { RawField } from './head.ts';
import { attachmentFieldCharsMax, reportRecipientsMax, unsubscribeLinksMax } from './limits.ts';
import type { Classification, DeliveryStatus, Feedback, ReadReceipt } from './message.ts';
import { clean } from './text.ts';

/** Types of parts that are for programs. Their content is kept while a message is parsed, within a bound. */
export const REPORT_TYPES: ReadonlySet<string> = new Set([
  'message/delivery-status',
  'message/global-delivery-status',
  'message/feedback-report',
  'message/disposition-notification',
  'message/global-disposition-notification',
  'text/calendar',
]);

export interface ReportPart {
  contentType: string;
  /** Decoded; null where it was too long to be kept. */
  content: string | null;
  /** The `method` of a calendar part (RFC 5546 §1.4). */
  method: string | null;
  /** It is a winmail.dat ([MS-OXTNEF]). */
  isTnef: boolean;
}

/** @param security of what is within the message; what its own type says counts before it. */
export function classify(
  fields: readonly RawField[],
  parts: readonly ReportPart[],
  security: Classification['security'] = null,
): Classification {
  const first = (name: string): string | null =>
    fields.find((field) => field.name.toLowerCase() === name)?.value ?? null;
  const contentOf = (...types: string[]): string | null =>
    parts.find(({ contentType, content }) => types.includes(contentType) && content !== null)?.content ?? null;
  const list = readList(first);
  const precedence = first('precedence')?.trim().toLowerCase() ?? '';
  return {
    autoReply: readAutoReply(first, precedence),
    bulk: list !== null || /^(?:bulk|list|junk)$/.test(precedence),
    list,
    deliveryStatus: readDeliveryStatus(contentOf('message/delivery-status', 'message/global-delivery-status')),
    feedback: readFeedback(contentOf('message/feedback-report')),
    readReceipt: readReceipt(contentOf('message/disposition-notification', 'message/global-disposition-notification')),
    calendarMethod:
      parts.find(({ method }) => method !== null)?.method ?? readCalendarMethod(contentOf('text/calendar')),
    security: readSecurity(first('content-type')) ?? security,
    tnef: parts.some(({ isTnef }) => isTnef),
  };
}

type First = (name: string) => string | null;

/** RFC 3834 §5, and what mailers said before it. `no` is a person's mail. */
function readAutoReply(first: First, precedence: string): Classification['autoReply'] {
  // Comments and parameters may follow.
  const submitted = first('auto-submitted')?.split(/[;(]/)[0]?.trim().toLowerCase() ?? '';
  if (submitted === 'no') return null;
  if (submitted.startsWith('auto-')) return submitted === 'auto-replied' ? 'replied' : 'generated';
  const isReply = first('x-autoreply') ?? first('x-autorespond') ?? first('x-autoresponder');
  return isReply !== null || /^auto[_-]?reply$/.test(precedence) ? 'replied' : null;
}

/** RFC 2919 and RFC 2369; one click by RFC 8058. */
function readList(first: First): Classification['list'] {
  const [id, unsubscribe] = [first('list-id'), first('list-unsubscribe')];
  if (id === null && unsubscribe === null && first('list-post') === null) return null;
  const bracketed = (unsubscribe?.match(/<[^<>]+>/g) ?? []).map((link) => link.slice(1, -1).replaceAll(/\s/g, ''));
  // Some senders leave the brackets out.
  const links = bracketed.length > 0 ? bracketed : (unsubscribe ?? '').split(/[\s,]+/);
  const oneClick = /\blist-unsubscribe=one-click\b/i.test(first('list-unsubscribe-post') ?? '');
  return {
    id: id === null ? null : short(/<([^<>]*)>\s*$/.exec(id)?.[1] ?? id),
    unsubscribe: links
      .filter((link) => /^(?:https?|mailto):/i.test(link))
      .slice(0, unsubscribeLinksMax)
      .map(short),
    oneClick: oneClick && links.some((link) => /^https:/i.test(link)),
  };
}

/** RFC 3464 §2: a group of fields for the message, then one for each recipient. */
function readDeliveryStatus(content: string | null): DeliveryStatus | null {
  if (content === null) return null;
  const [message, ...recipients] = readGroups(content);
  const known = recipients.filter((group) => group.has('final-recipient') || group.has('action'));
  return {
    reportingMta: address(message?.get('reporting-mta')),
    recipients: known.slice(0, reportRecipientsMax).map((group) => ({
      recipient: address(group.get('final-recipient')) ?? address(group.get('original-recipient')),
      originalRecipient: address(group.get('original-recipient')),
      action: word(group.get('action')),
      status: /^\d\.\d{1,3}\.\d{1,3}/.exec(group.get('status') ?? '')?.[0] ?? null,
      diagnostic: group.get('diagnostic-code') ?? null,
      remoteMta: address(group.get('remote-mta')),
    })),
  };
}

/** RFC 5965 §3. */
function readFeedback(content: string | null): Feedback | null {
  const group = content === null ? undefined : readGroups(content)[0];
  if (group === undefined) return null;
  return {
    type: group.get('feedback-type')?.toLowerCase() ?? null,
    userAgent: group.get('user-agent') ?? null,
    originalRecipient: bare(group.get('original-rcpt-to')),
    sourceIp: group.get('source-ip') ?? null,
  };
}

/** RFC 8098 §3.2. */
function readReceipt(content: string | null): ReadReceipt | null {
  const group = content === null ? undefined : readGroups(content)[0];
  if (group === undefined) return null;
  return {
    recipient: address(group.get('final-recipient')),
    originalMessageId: group.get('original-message-id') ?? null,
    // A modifier may follow, as in `deleted/error`.
    disposition: word(group.get('disposition')?.split(';').at(-1)?.split('/')[0]),
  };
}

/** RFC 5546 §1.4: in the content, where the type does not repeat it. */
function readCalendarMethod(content: string | null): string | null {
  return /^METHOD:([A-Z-]{1,30})\s*$/im.exec(content ?? '')?.[1]?.toUpperCase() ?? null;
}

/** RFC 8551 §3.2, RFC 1847, RFC 3156. */
export function readSecurity(contentType: string | null): Classification['security'] {
  if (contentType === null) return null;
  const { value, params } = libmime.parseHeaderValue(contentType);
  const type = value.toLowerCase();
  const protocol = (params['protocol'] ?? '').toLowerCase();
  if (type === 'multipart/signed') return protocol.includes('pgp') ? 'pgp-signed' : 'smime-signed';
  if (type === 'multipart/encrypted') return 'pgp-encrypted';
  if (!/^application\/(?:x-)?pkcs7-mime$/.test(type)) return null;
  return (params['smime-type'] ?? '').toLowerCase() === 'signed-data' ? 'smime-signed' : 'smime-encrypted';
}

/** Groups of fields, parted by blank lines, names in lower case. The first of a name counts. */
function readGroups(content: string): ReadonlyMap<string, string>[] {
  const groups: Map<string, string>[] = [];
  for (const block of content.replaceAll('\r\n', '\n').split(/\n[ \t]*\n+/)) {
    const group = new Map<string, string>();
    for (const line of block.replaceAll(/\n[ \t]+/g, ' ').split('\n')) {
      const colon = line.indexOf(':');
      const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase();
      const value = line.slice(colon + 1).trim();
      if (name !== '' && value !== '' && !group.has(name)) group.set(name, short(value));
    }
    if (group.size > 0) groups.push(group);
  }
  return groups;
}

/** A word that a comment may follow. */
function word(value: string | undefined): string | null {
  return value?.replace(/\(.*$/s, '').trim().toLowerCase() || null;
}

/** `rfc822; user@example.com` and `dns; mx.example.com` (RFC 3464 §2.1.2), without their type. */
function address(value: string | undefined): string | null {
  return bare(value?.replace(/^[\w-]+\s*;\s*/, ''));
}

function bare(value: string | undefined): string | null {
  return value?.replace(/^<(.*)>$/s, '$1').trim() || null;
}

function short(text: string): string {
  return clean(text, attachmentFieldCharsMax).text;
}
