/**
 * What the header section implies and nobody vouches for: when and for whom a server says that it took the mail, and what
 * it is an answer to. Every field here can be forged; callers get it under a name that says so.
 */
import { createHash } from 'node:crypto';
import { parseDate } from './date.ts';
import type { RawField } from './head.ts';
import { attachmentFieldCharsMax, authenticationResultsMax, authenticationMethodsMax } from './limits.ts';
import type { AuthenticationResults, Derived } from './message.ts';
import { clean } from './text.ts';

export function readDerived(
  fields: readonly RawField[],
  { messageId, inReplyTo, references }: { messageId: string; inReplyTo: string | null; references: readonly string[] },
): Derived {
  const first = (...names: string[]): string | null => {
    for (const name of names) {
      const found = fields.find((field) => field.name.toLowerCase() === name)?.value.trim();
      if (found !== undefined && found !== '') return clean(found, attachmentFieldCharsMax).text;
    }
    return null;
  };
  const root = references[0] ?? inReplyTo ?? messageId;
  return {
    receivedAt: readReceivedAt(fields),
    // RFC 5321 §4.4: the final delivery writes it. `<>` is the sender of bounces, and no address.
    returnPath: stripBrackets(first('return-path')),
    deliveredTo: stripBrackets(first('delivered-to', 'x-delivered-to', 'envelope-to')),
    originalRecipient: stripBrackets(first('x-original-to', 'original-recipient')?.replace(/^rfc822;\s*/i, '') ?? null),
    threadKey: createHash('sha256').update(root).digest('hex').slice(0, 32),
  };
}

/** The topmost trace field is the latest, and of the server that the mail was fetched from (RFC 5321 §4.4). */
function readReceivedAt(fields: readonly RawField[]): string | null {
  const received = fields.find(({ name }) => name.toLowerCase() === 'received');
  const semicolon = received?.value.lastIndexOf(';') ?? -1;
  return received && semicolon !== -1 ? parseDate(received.value.slice(semicolon + 1)) : null;
}

function stripBrackets(value: string | null): string | null {
  return value === null ? null : value.replace(/^<(.*)>$/s, '$1').trim() || null;
}

/** RFC 8601 §2.2, as far as programs need it: who judged, and each method with its result. */
export function readAuthenticationResults(fields: readonly RawField[]): AuthenticationResults[] {
  return fields
    .filter(({ name }) => name.toLowerCase() === 'authentication-results')
    .slice(0, authenticationResultsMax)
    .map(({ value }) => {
      const segments = withoutComments(value).split(';');
      // Exchange Online names no server, and begins with what it found.
      const isUnnamed = /^\s*[a-z-]+\s*=/i.test(segments[0] ?? '');
      const [server = '', ...statements] = isUnnamed ? ['', ...segments] : segments;
      const methods = statements.slice(0, authenticationMethodsMax).flatMap((statement) => {
        const [, method, result] = /^\s*([a-z][\w-]{0,40})(?:\s*\/\s*\d+)?\s*=\s*([a-z]{1,20})/i.exec(statement) ?? [];
        return method === undefined || result === undefined
          ? []
          : [{ method: method.toLowerCase(), result: result.toLowerCase() }];
      });
      const name = server.trim().split(/\s+/)[0] ?? '';
      return { server: name === '' ? null : clean(name, attachmentFieldCharsMax).text, methods, isVerified: false };
    });
}

/** Comments of RFC 5322 §3.2.2, nested ones too, in one pass. */
function withoutComments(value: string): string {
  let depth = 0;
  let bare = '';
  for (const character of value) {
    if (character === '(') depth += 1;
    else if (character === ')') depth = Math.max(0, depth - 1);
    else if (depth === 0) bare += character;
  }
  return bare;
}
