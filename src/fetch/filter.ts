/** Which messages are wanted, by what is known of them so far. Pure. */
import { createHash } from 'node:crypto';
import type { HeaderCondition, MessageFilter } from '../mailbox/policies.ts';
import type { SkippedEntry } from './ledger.ts';

/** In octets, as the server states it; null where it does not. */
interface Sized {
  bytes: number | null;
}

interface HeaderField {
  name: string;
  /** Unfolded, and encoded words decoded. */
  value: string;
}

/** Tells filters apart: 32 bits, never zero, which is no filter's. */
export function filterMark(filter: MessageFilter): number {
  return createHash('sha256').update(JSON.stringify(filter)).digest().readUInt32BE(0) || 1;
}

export function isWantedBySize({ bytesMax }: MessageFilter, bytes: number | null): boolean {
  return bytesMax === undefined || bytes === null || bytes <= bytesMax;
}

export function isWantedByHeaders({ headers = [] }: MessageFilter, fields: readonly HeaderField[]): boolean {
  return headers.every((condition) => holds(condition, fields));
}

function holds({ name, contains, excludes = [] }: HeaderCondition, fields: readonly HeaderField[]): boolean {
  const values = fields.filter((field) => isSameText(field.name, name)).map(({ value }) => fold(value));
  const hasOneOf = (texts: readonly string[]): boolean =>
    texts.some((text) => values.some((value) => value.includes(fold(text))));
  return (contains === undefined || hasOneOf(contains)) && !hasOneOf(excludes);
}

function isSameText(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/** The same letter in composed and decomposed form is one letter. */
function fold(text: string): string {
  return text.normalize('NFC').toLowerCase();
}

export function skippedByFilter(
  { bytes }: Sized,
  reason: 'filter_size' | 'filter_headers',
  filter: MessageFilter,
  nowSeconds: number,
): SkippedEntry {
  return { state: 'skipped', reason, filter: filterMark(filter), at: nowSeconds, bytes, absent: null };
}

/** Entries for messages that are not wanted; without unique-ids there is nothing to know them by. */
export function skipByFilter(
  messages: readonly (Sized & { key: string | null })[],
  reason: 'filter_size' | 'filter_headers',
  filter: MessageFilter,
  nowSeconds: number,
): Map<string, SkippedEntry> {
  const known = messages.flatMap((message) => (message.key === null ? [] : [{ ...message, key: message.key }]));
  return new Map(known.map((message) => [message.key, skippedByFilter(message, reason, filter, nowSeconds)]));
}

/** Why a message that is here is not wanted; null where it is. What LIST has told of its size was looked at before. */
export function refusal(
  filter: MessageFilter,
  listed: Sized,
  read: { bytes: number; headers: readonly HeaderField[] },
): 'filter_size' | 'filter_headers' | null {
  if (listed.bytes === null && !isWantedBySize(filter, read.bytes)) return 'filter_size';
  return isWantedByHeaders(filter, read.headers) ? null : 'filter_headers';
}
