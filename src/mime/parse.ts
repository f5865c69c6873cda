/**
 * Raw bytes of one message to a JSON-safe ParsedMessage.
 *
 * A message that cannot be parsed is still a message: nothing in it makes this throw, and what could not be read is in its
 * warnings. It does not bound its own time or heap, which only the thread around it can (pool.ts), and keeps no attachment
 * (attachment.ts streams one out of the raw message).
 */
import type { AttachmentStream, Headers } from 'mailparser';
import { toError } from '../errors.ts';
import { describeAttachment, describeUnpacked } from './attachment.ts';
import { readContent } from './attachment-content.ts';
import { readBody } from './body.ts';
import { classify, readSecurity, type ReportPart } from './classification.ts';
import { readEnvelope } from './envelope.ts';
import { readHead } from './head.ts';
import { attachmentsMax, headBytesMax, parseLimits, type ParseLimits } from './limits.ts';
import { mendMessage } from './mended.ts';
import type {
  AttachmentInfo,
  Classification,
  ParsedMessage,
  ParseWarning,
  StoredAttachment,
  Warn,
  WarningCode,
} from './message.ts';
import { PartParser, runParser } from './part-parser.ts';
import { isTnefType, type Unpacked } from './tnef-files.ts';

/** @throws what `raw` fails with, where it comes as a stream; and nothing for what the message holds. */
export async function parseMessage(
  raw: Uint8Array | AsyncIterable<Uint8Array>,
  limits: ParseLimits = parseLimits,
): Promise<ParsedMessage> {
  const { warnings, warn } = collectWarnings();
  const { head, fields, stream, bytesGiven, failure } = await mendMessage(raw, warn, limits);
  const envelope = readEnvelope(fields, warn, limits, head);
  if (fields.length === 0) warn('headers_missing', 'The message has no header section.');

  const parser = new PartParser(limits);
  const found: { info: AttachmentInfo; ordinal: number | null }[] = [];
  const reports: ReportPart[] = [];
  const isWhole = await runParser(parser, stream, async (attachment, ordinal) => {
    const { detectedContentType, report, unpacked } = await readContent(attachment);
    const info = { ...describeAttachment(attachment, ordinal), detectedContentType };
    const files = unpacked?.files ?? [];
    found.push({ info, ordinal }, ...files.map((file) => ({ info: describeUnpacked(info, file), ordinal: null })));
    if (found.length > attachmentsMax) {
      found.length = attachmentsMax;
      warn('attachments_truncated', `Attachments beyond the first ${attachmentsMax} are not listed.`);
    }
    warnOfTnef(attachment, unpacked, warn);
    reports.push(describeReport(attachment, report, unpacked));
  }).then(
    () => true,
    (thrown: unknown) => {
      const sourceFailure = failure();
      if (sourceFailure !== null) throw sourceFailure;
      warnOfFailure(toError(thrown), limits, warn);
      return false;
    },
  );
  const attachments: StoredAttachment[] = [];
  for (const { info, ordinal } of found) {
    const source = ordinal === null ? null : parser.sourceOf(ordinal, bytesGiven());
    attachments.push({ ...info, source });
  }
  const body = readBody(parser, warn);
  const isEmpty = body.text === null && body.html === null && attachments.length === 0;
  const status = !isWhole && isEmpty ? 'failed' : warnings.size === 0 ? 'ok' : 'partial';
  const classification = classify(fields, reports, findSecurity(parser, body.text));
  return { ...envelope, ...body, classification, attachments, parse: { status, warnings: listWarnings(warnings) } };
}

/** What is left of a message whose parsing came to grief: its header section, read with bounded effort, and why. */
export function parseHeaders(head: Uint8Array, reason: ParseWarning, limits: ParseLimits = parseLimits): ParsedMessage {
  const { warnings, warn } = collectWarnings();
  warn(reason.code, reason.detail);
  const fields = readHead(head, warn, limits);
  return {
    ...readEnvelope(fields, warn, limits),
    classification: classify(fields, []),
    text: null,
    html: null,
    charsets: [],
    strippedReply: null,
    strippedReplyTruncated: false,
    textTruncated: false,
    htmlTruncated: false,
    attachments: [],
    snippet: '',
    parse: { status: 'failed', warnings: listWarnings(warnings) },
  };
}

/** Of a part that is signed or encrypted within others, as a list wraps it; or of text in PGP's own armour (RFC 4880 §6.2). */
function findSecurity(parser: PartParser, text: string | null): Classification['security'] {
  const armour = /^-----BEGIN PGP (MESSAGE|SIGNED MESSAGE)-----$/m.exec(text ?? '')?.[1];
  if (armour !== undefined) return armour === 'MESSAGE' ? 'pgp-encrypted' : 'pgp-signed';
  return (
    parser
      .contentTypes()
      .map(readSecurity)
      .find((found) => found !== null) ?? null
  );
}

function describeReport(
  { contentType, headers }: AttachmentStream,
  content: string | null,
  unpacked: Unpacked | null,
): ReportPart {
  const type = contentType.toLowerCase();
  const method = type === 'text/calendar' ? readMethod(headers) : null;
  return { contentType: type, content, method, isTnef: unpacked !== null && unpacked.outcome !== 'none' };
}

function warnOfTnef({ contentType }: AttachmentStream, unpacked: Unpacked | null, warn: Warn): void {
  const isAmiss = unpacked?.outcome === 'damaged' || (unpacked?.outcome === 'none' && isTnefType(contentType));
  if (isAmiss) warn('tnef_malformed', 'A winmail.dat is damaged: it may hold more than what is listed.');
}

/** RFC 6047 §2.4. */
function readMethod(headers: Headers): string | null {
  const field = headers.get('content-type') as { params?: Record<string, string> } | undefined;
  const method = field?.params?.['method']?.toUpperCase() ?? '';
  return /^[A-Z-]{1,30}$/.test(method) ? method : null;
}

function warnOfFailure(error: Error, { parts, partDepth }: ParseLimits, warn: Warn): void {
  if ('code' in error && error.code === 'EMAXLEN') {
    const bounds = `${parts} parts, ${partDepth} levels of parts or ${headBytesMax} bytes of header section`;
    warn('parts_truncated', `The message has more than ${bounds}: what follows is left out.`);
  } else {
    warn('parser_failed', 'The message could not be parsed to its end: what follows is left out.');
  }
}

function collectWarnings(): { warnings: Map<WarningCode, string>; warn: Warn } {
  const warnings = new Map<WarningCode, string>();
  return { warnings, warn: (code, detail) => void (warnings.has(code) || warnings.set(code, detail)) };
}

function listWarnings(warnings: ReadonlyMap<WarningCode, string>): ParseWarning[] {
  return Array.from(warnings, ([code, detail]) => ({ code, detail }));
}
