/** The fields of the header section that everybody asks for, and the list of all of them. */
import libmime from 'libmime';
import { createHash } from 'node:crypto';
import { parseAddressHeader } from 'mailparser';
import { parseDate } from './date.ts';
import { readAuthenticationResults, readDerived } from './derived.ts';
import { repairWords } from './encoded-words.ts';
import type { RawField } from './head.ts';
import { headerBytesMax, parseLimits, referencesMax, type ParseLimits } from './limits.ts';
import type { Address, ParsedMessage, Warn } from './message.ts';
import { clean } from './text.ts';

export type Envelope = Pick<
  ParsedMessage,
  | 'messageId'
  | 'messageIdSynthesised'
  | 'date'
  | 'rawDate'
  | 'subject'
  | 'from'
  | 'sender'
  | 'replyTo'
  | 'to'
  | 'cc'
  | 'bcc'
  | 'inReplyTo'
  | 'references'
  | 'headers'
  | 'derived'
  | 'authenticationResults'
>;

/** @param head the beginning of the message, which a message without a header section is told by. */
export function readEnvelope(
  fields: readonly RawField[],
  warn: Warn,
  limits: ParseLimits = parseLimits,
  head: Uint8Array = new Uint8Array(),
): Envelope {
  const byName = Map.groupBy(fields, (field) => field.name.toLowerCase());
  const all = (name: string): string[] => (byName.get(name) ?? []).map((field) => field.value);
  // Of a field that may stand only once, mail clients show the first.
  const first = (name: string): string | null => all(name)[0] ?? null;
  const addresses = (values: readonly (string | null)[]): readonly Address[] =>
    readAddresses(values, limits.addresses, warn);

  const writtenId = readMessageIds(first('message-id') ?? '')[0] ?? null;
  const messageId = writtenId ?? synthesiseMessageId(fields, head);
  const inReplyTo = readMessageIds(first('in-reply-to') ?? '')[0] ?? null;
  const subject = first('subject');
  const references = all('references').flatMap(readMessageIds);
  if (references.length > referencesMax) {
    warn('references_truncated', `References beyond the first ${referencesMax} are not listed.`);
  }
  return {
    messageId,
    messageIdSynthesised: writtenId === null,
    date: readDate(first('date'), warn),
    rawDate: first('date'),
    subject: subject === null ? null : decodeWords(subject),
    from: addresses([first('from')]),
    sender: addresses([first('sender')]),
    replyTo: addresses(all('reply-to')),
    to: addresses(all('to')),
    cc: addresses(all('cc')),
    bcc: addresses(all('bcc')),
    inReplyTo,
    references: references.slice(0, referencesMax),
    headers: fields.map(({ name, value }) => ({ name, value: decodeWords(value) })),
    derived: readDerived(fields, { messageId, inReplyTo, references }),
    authenticationResults: readAuthenticationResults(fields),
  };
}

/**
 * An id for a message that has none, the same whenever the same header section is read. The domain is one that nobody can have
 * (RFC 2606 §2).
 */
function synthesiseMessageId(fields: readonly RawField[], head: Uint8Array): string {
  const hash = createHash('sha256').update(JSON.stringify(fields.map(({ name, value }) => [name, value])));
  // Without a header section all messages would have the same.
  if (fields.length === 0) hash.update(head);
  return `<${hash.digest('hex').slice(0, 32)}@synthesised.invalid>`;
}

function decodeWords(value: string): string {
  return clean(libmime.decodeWords(repairWords(value)), headerBytesMax).text;
}

function readDate(value: string | null, warn: Warn): string | null {
  const date = value === null ? null : parseDate(value);
  if (value !== null && date === null) warn('date_invalid', 'The Date field is not a date; the header list has it.');
  return date;
}

/** Ids with their brackets; where there are none, whatever stands there is the id. */
function readMessageIds(value: string): string[] {
  const bracketed = value.match(/<[^<>]+>/g);
  if (bracketed !== null) return bracketed.map((id) => id.replaceAll(/\s/g, ''));
  const bare = value.split(/\s+/, 1)[0] ?? '';
  return bare === '' ? [] : [`<${bare.replaceAll(/[<>]/g, '')}>`];
}

function readAddresses(values: readonly (string | null)[], addressesMax: number, warn: Warn): readonly Address[] {
  const written = values.filter((value) => value !== null).map(repairWords);
  // Punycode stays: it is the address that mail can be sent to, and one that cannot be mistaken for another.
  const addresses = flattenGroups(parseAddressHeader(written, { decodePunycode: false }).value, null).map(unwrap);
  if (addresses.length > addressesMax) {
    warn('addresses_truncated', `Addresses beyond the first ${addressesMax} of a field are not listed.`);
  }
  return addresses.slice(0, addressesMax);
}

/** A whole field in one encoded word, its brackets too: only where there is no address otherwise, or it could stand in for one. */
function unwrap(entry: Address): Address {
  const [, name = '', address] =
    (entry.address === null && /^([^<>]*)<([^<>\s@]+@[^<>\s@]+)>$/.exec(entry.name ?? '')) || [];
  return address === undefined ? entry : { name: orNull(name.trim()), address, group: entry.group };
}

interface ParsedAddress {
  readonly name?: string;
  readonly address?: string;
  readonly group?: readonly ParsedAddress[];
}

function flattenGroups(entries: readonly ParsedAddress[], group: string | null): Address[] {
  return entries.flatMap((entry) => {
    const name = orNull(entry.name);
    if (entry.group === undefined) {
      const address = orNull(entry.address);
      return name === null && address === null ? [] : [{ name, address, group }];
    }
    const members = flattenGroups(entry.group, name);
    return members.length === 0 ? [{ name: null, address: null, group: name }] : members;
  });
}

function orNull(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : clean(text, headerBytesMax).text;
}
