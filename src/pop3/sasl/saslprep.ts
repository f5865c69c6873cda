/**
 * SASLprep (RFC 4013), which makes two spellings of one password the same bytes.
 *
 * Whole in what changes bytes and in what is prohibited. Left out, on purpose: the rule for right-to-left text (RFC 3454
 * §6), which would refuse every Hebrew password that ends in a digit here where servers take it, and the refusal of
 * unassigned code points, which RFC 4013 §2.5 asks of stored strings only.
 */

/** RFC 3454, C.1.2. U+200B stands in B.1 too; that it becomes a space is what libidn and PostgreSQL do. */
const SPACES = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu;
/** RFC 3454, B.1. */
const MAPPED_TO_NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu;
/** RFC 3454, C.2.1, C.2.2 and C.3 to C.9, as far as it can be left after the steps above. */
const PROHIBITED =
  /[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u06dd\u070f\u180e\u2028\u2029\u2061-\u2063\u206a-\u206f\ufff9-\ufffd\u2ff0-\u2ffb\u200e\u200f\u202a-\u202e\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}]/u;

/** Null where the text holds a character that is prohibited, or where nothing is left of it. */
export function saslprep(text: string): string | null {
  const prepared = text.replace(SPACES, ' ').replace(MAPPED_TO_NOTHING, '').normalize('NFKC');
  return prepared === '' || PROHIBITED.test(prepared) ? null : prepared;
}
