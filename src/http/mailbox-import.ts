/** `POST /v1/mailboxes/import`: many mailboxes as NDJSON, each line for itself. */
import type { components } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { MailboxService, NewMailbox } from '../mailbox/service.ts';
import { importBytesMax, importLinesAtOnce, importLinesMax, bodyBytesMax } from './limits.ts';
import type { Handlers } from './route.ts';

type ImportBody = components['schemas']['MailboxImport'];
type Item = ImportBody['items'][number];
type Refusal = NonNullable<Item['problem']>['code'];

export interface MailboxImportPorts {
  mailboxes: Pick<MailboxService, 'create'>;
  /** What a line says. @throws AppError `invalid_request`. */
  readMailbox(value: unknown): NewMailbox;
}

const REFUSALS = new Set<string>(['invalid_json', 'invalid_request', 'conflict', 'egress_blocked'] satisfies Refusal[]);

export function mailboxImportHandlers({
  mailboxes,
  readMailbox,
}: MailboxImportPorts): Pick<Handlers, 'importMailboxes'> {
  async function importLine(tenant: string, { number, text }: Line): Promise<Item> {
    try {
      const { mailbox } = await mailboxes.create(tenant, readMailbox(parseLine(text)));
      return { line: number, id: mailbox, problem: null };
    } catch (error) {
      // What is no fault of the line's ends the import: what was stored by then is found to be there next time.
      if (!(error instanceof AppError) || !REFUSALS.has(error.code)) throw error;
      return { line: number, id: null, problem: { code: error.code as Refusal, detail: error.message } };
    }
  }

  return {
    async importMailboxes({ body, principal }) {
      const lines = await readLines(body(importBytesMax));
      const items: Item[] = [];
      for (let from = 0; from < lines.length; from += importLinesAtOnce) {
        const some = lines.slice(from, from + importLinesAtOnce);
        items.push(...(await Promise.all(some.map((line) => importLine(principal.tenant, line)))));
      }
      const created = items.filter(({ id }) => id !== null).length;
      return { status: 200, body: { created, refused: items.length - created, items } };
    },
  };
}

interface Line {
  number: number;
  text: Buffer;
}

const LF = 0x0a;

/** @throws AppError `invalid_request` where there are too many; what the body throws. */
async function readLines(body: AsyncIterable<Uint8Array>): Promise<Line[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const lines: Line[] = [];
  for (let start = 0, number = 1; start < bytes.length; number += 1) {
    const end = bytes.indexOf(LF, start);
    const text = bytes.subarray(start, end === -1 ? bytes.length : end);
    if (text.some((byte) => byte > 0x20)) lines.push({ number, text });
    if (lines.length > importLinesMax) {
      throw new AppError('invalid_request', `The request is not valid: body has more than ${importLinesMax} lines.`);
    }
    start += text.length + 1;
  }
  return lines;
}

/** @throws AppError `invalid_json`. */
function parseLine(text: Buffer): unknown {
  try {
    if (text.length > bodyBytesMax) throw new Error('too long');
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text)) as unknown;
  } catch {
    throw new AppError('invalid_json', `The line is not well-formed JSON in UTF-8 of at most ${bodyBytesMax} bytes.`);
  }
}
