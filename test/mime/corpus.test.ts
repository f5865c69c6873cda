/**
 * Mails as many mailers and broken scripts write them, each a file of exact bytes beside the whole of what parsing gives. What each
 * shows (subject, addresses, text, files, class, warnings) was written down before it was parsed, by what the RFCs say and mail
 * clients are known to make of it; the rest was recorded. Where the parser differs, the expected file keeps what was written down.
 *
 * `UPDATE_CORPUS=1 npx vitest run --config test/vitest.config.ts test/mime/corpus.test.ts` writes the expected files anew, and the
 * difference is to be read line by line. CI refuses it.
 */
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import type { ParsedMessage } from '../../src/mime/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { createMimePool } from '../../src/mime/pool.ts';

const FOLDER = new URL('corpus/', import.meta.url);
const isUpdate = process.env['UPDATE_CORPUS'] === '1';
if (isUpdate && process.env['CI'] !== undefined)
  throw new Error('CI compares with the expected files, and writes none.');

const NAMES = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.eml'))
  .map((file) => file.slice(0, -'.eml'.length))
  .sort();

/** What the parser is known to get wrong: there the expected file is right, and this list shrinks when the parser is. */
const FAULTS: Readonly<Record<string, readonly string[]>> = {};

/** As JSON has it. Where an attachment stands in the bytes is tested beside decodeAttachment. */
function toJson(message: ParsedMessage): Record<string, unknown> {
  const attachments = message.attachments.map(({ source: _source, ...attachment }) => attachment);
  return JSON.parse(JSON.stringify({ ...message, attachments })) as Record<string, unknown>;
}

const readMail = (name: string): Promise<Buffer> => readFile(new URL(`${name}.eml`, FOLDER));
const expectedFile = (name: string): URL => new URL(`${name}.json`, FOLDER);
const readExpected = async (name: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(expectedFile(name), 'utf8')) as Record<string, unknown>;

/** Instead of the comparison, which CI must not see as skipped. */
function writeExpected(): void {
  test.for(NAMES)('the expected file of %s is written anew', async (name) => {
    const got = toJson(await parseMessage(await readMail(name)));
    const faults = FAULTS[name] ?? [];
    const right = faults.length === 0 ? {} : await readExpected(name);
    for (const field of faults) got[field] = right[field];
    await writeFile(expectedFile(name), `${JSON.stringify(got, null, 2)}\n`);
  });
}

function compare(): void {
  test.for(NAMES)('%s is read as a mail client reads it', async (name) => {
    const got = toJson(await parseMessage(await readMail(name)));
    const expected = await readExpected(name);
    for (const field of FAULTS[name] ?? []) {
      expect(got[field], `${field} is right now: take it off the list of faults`).not.toEqual(expected[field]);
      got[field] = expected[field];
    }
    expect(got).toEqual(expected);
  });

  test('is one of at least 130, and every expected file has its mail', () => {
    expect(NAMES.length).toBeGreaterThanOrEqual(130);
    const expectedNames = readdirSync(FOLDER).filter((file) => file.endsWith('.json'));
    expect(expectedNames.sort()).toEqual(NAMES.map((name) => `${name}.json`).sort());
    expect(Object.keys(FAULTS).filter((name) => !NAMES.includes(name))).toEqual([]);
  });
}

describe('a mail of the corpus', () => (isUpdate ? writeExpected() : compare()));

describe('through the threads of the pool', () => {
  const pool = createMimePool({ threads: 1 });
  afterAll(() => pool.close());

  const everyTenth = NAMES.filter((_, at) => at % 10 === 0);
  test.for(everyTenth)('%s reads the same, whole or byte by byte', async (name) => {
    const bytes = await readMail(name);
    const alone = toJson(await parseMessage(bytes));
    const pieces = Readable.from(Array.from(bytes, (byte) => Buffer.of(byte)));
    expect(toJson(await pool.parse(new Uint8Array(bytes)))).toEqual(alone);
    expect(toJson(await pool.parse(pieces))).toEqual(alone);
  });
});
