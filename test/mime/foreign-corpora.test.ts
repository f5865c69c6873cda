/**
 * Mails that other people's parsers are tested with: Python's email package, Go's enmime, SpamAssassin's samples, and the bounces of
 * Mailman's detector, which people got. They are unpacked by test/support/unpack-mail-corpora.sh out of Debian's packages, and not
 * kept here. What holds of all of them is tested on each; what one says was held against Python's
 * email package, but for what that cannot read.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { openAttachment } from '../../src/mime/attachment.ts';
import { attachmentFieldCharsMax, headerBytesMax, snippetCharsMax, textCharsMax } from '../../src/mime/limits.ts';
import type { ParsedMessage } from '../../src/mime/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';

const FOLDER = new URL('../../data/mail-corpora/', import.meta.url);
/** How many mails each has at least. */
const CORPORA = { enmime: 70, 'flufl-bounce': 110, python: 45, spamassassin: 2 };

const isUnpacked = existsSync(FOLDER);
const NAMES = isUnpacked
  ? Object.keys(CORPORA).flatMap((corpus) => readdirSync(new URL(corpus, FOLDER)).map((file) => `${corpus}/${file}`))
  : [];

const readMail = (name: string): Promise<Buffer> => readFile(new URL(name, FOLDER));
const parse = async (name: string): Promise<ParsedMessage> => parseMessage(await readMail(name));
const failures = async (name: string): Promise<unknown> =>
  (await parse(name)).classification.deliveryStatus?.recipients.map(({ recipient, action, status }) => [
    recipient,
    action,
    status,
  ]);

/** Every string in it, at whatever depth. */
function* stringsOf(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null)
    for (const inner of Object.values(value)) yield* stringsOf(inner);
}

describe.skipIf(!isUnpacked)("other people's mail (skipped where unpack-mail-corpora.sh has not unpacked it)", () => {
  test.for(Object.entries(CORPORA))('of %s is there', ([corpus, least]) => {
    expect(NAMES.filter((name) => name.startsWith(`${corpus}/`)).length).toBeGreaterThanOrEqual(least);
  });

  test.for(NAMES)('%s is parsed, whatever it holds, to something that survives JSON and is bounded', async (name) => {
    const message = await parse(name);
    expect(message.parse.status).not.toBe('failed');
    expect(message.parse.warnings.map(({ code }) => code)).not.toContain('parser_failed');
    expect(JSON.parse(JSON.stringify(message))).toEqual(message);
    for (const text of stringsOf(message)) {
      expect(text.isWellFormed() && !text.includes('\0')).toBe(true);
      expect(text.length).toBeLessThanOrEqual(Math.max(textCharsMax, headerBytesMax));
    }
    expect(message.snippet.length).toBeLessThanOrEqual(snippetCharsMax);
    for (const { filename } of message.attachments) {
      expect((filename ?? '').length).toBeLessThanOrEqual(attachmentFieldCharsMax);
    }
  });

  test.for(NAMES)('%s has attachments of the size and the digest that it says', async (name) => {
    const raw = await readMail(name);
    for (const { id, size, sha256 } of (await parseMessage(raw)).attachments) {
      const opened = await openAttachment(Readable.from([raw]), id);
      const bytes = await buffer(opened?.stream ?? Readable.from([]));
      expect({ id, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }).toEqual({
        id,
        size,
        sha256,
      });
    }
  });

  describe('of Python', () => {
    test.for([
      ['msg_01', { text: '\nHi,\n\nDo you like this message?\n\n-Me\n', subject: 'This is a test message' }],
      ['msg_07', { text: 'Hi there,\n\nThis is the dingus fish.\n', subject: 'Here is your dingus fish' }],
      ['msg_21', { text: 'One\nTwo', subject: 'Test' }],
      ['msg_40', { html: expect.stringContaining('<') as string }],
      ['msg_45', { text: 'This is the signed contents.\n', classification: { security: 'pgp-signed' } }],
    ] as const)('%s says what it says', async ([name, expected]) => {
      expect(await parse(`python/${name}.txt`)).toMatchObject(expected);
    });

    test.for([
      ['msg_05', [[null, 'message/rfc822']]],
      ['msg_07', [['dingusfish.gif', 'image/gif']]],
      [
        'msg_22',
        [
          ['wibble.JPG', 'image/jpeg'],
          ['wibble2.JPG', 'image/jpeg'],
        ],
      ],
      ['msg_45', [['signature.asc', 'application/pgp-signature']]],
    ] as const)('%s has its attachments', async ([name, expected]) => {
      const { attachments } = await parse(`python/${name}.txt`);
      expect(attachments.map(({ filename, contentType }) => [filename, contentType])).toEqual(expected);
    });

    test('msg_10 is decoded from each transfer encoding', async () => {
      const { text } = await parse('python/msg_10.txt');
      expect(text).toContain('This is a 7bit encoded message.');
      expect(text).toContain('¡This is a Quoted Printable encoded message!');
      expect(text).toContain('This is a Base64 encoded message.');
    });

    test.for(['msg_25', 'msg_31', 'msg_41'])(
      '%s has a multipart without parts, and loses none of its text',
      async (name) => {
        const message = await parse(`python/${name}.txt`);
        expect(message.parse.status).toBe('partial');
        expect(message.text?.trim()).not.toBe('');
      },
    );
  });

  describe("of Mailman's bounces", () => {
    test.for([
      ['dsn_01', [['userx@sims-ms-daemon', 'failed', '5.0.0']]],
      ['dsn_05', [['userx@example.cz', 'delayed', '4.4.1']]],
      ['dsn_08', [['userx@example.de', 'delayed', '4.0.0']]],
      ['dsn_10', [['anne.person@dom.ain', 'failed', '5.0.0']]],
      ['dsn_13', [['userx@example.com', 'failed', '5.1.1']]],
      ['dsn_17', [['xxx@example.fi', 'delayed', '4.3.0']]],
      ['dsn_18', [['email@replaced.net', 'error', '5.0.0']]],
    ] as const)('%s says who did not get it', async ([name, expected]) => {
      expect(await failures(`flufl-bounce/${name}.txt`)).toEqual(expected);
    });

    test('a delivery status is found wherever Python finds one, but for the one within a forwarded mail', async () => {
      const names = NAMES.filter((name) => name.startsWith('flufl-bounce/'));
      const found = [];
      for (const name of names)
        if ((await failures(name)) !== undefined) found.push(name.slice('flufl-bounce/'.length, -4));
      const numbers = Array.from({ length: 18 }, (_, at) => `dsn_${String(at + 1).padStart(2, '0')}`);
      const expected = [...numbers, 'netscape_01', 'simple_13', 'simple_31', 'simple_42'];
      expect(found.sort()).toEqual(expected.filter((name) => name !== 'dsn_15'));
    });

    test.for(['qmail_01', 'exim_01', 'groupwise_01'])('%s is for people alone, and its text is there', async (name) => {
      const { text, classification } = await parse(`flufl-bounce/${name}.txt`);
      expect(classification.deliveryStatus).toBeNull();
      expect(text?.trim()).not.toBe('');
    });
  });

  describe('of enmime', () => {
    test.for([
      ['mime-bad-8bit-filename', '管理.doc'],
      ['mime-unquoted-tspecials-param', 'Invoice_(302232133150612).pdf'],
      ['mime-duplicate-param', 'Invoice_302232133150612.pdf'],
      ['attachment-application', 'some.doc'],
    ] as const)('%s has a file named %s', async ([name, filename]) => {
      expect((await parse(`enmime/${name}.raw`)).attachments.map((attachment) => attachment.filename)).toEqual([
        filename,
      ]);
    });

    test.for([
      ['bad-final-boundary', 'A text section'],
      ['multimixed-no-closing-boundary', 'Hello,\n'],
      ['similar-boundary', 'Section one\n\nA text section'],
      ['quoted-printable', 'Start=ABC=Finish'],
      ['chardet-fail-not-long-enough', '和弟弟\n'],
      ['non-mime-html-charset-header-only', 'Test Müller'],
    ] as const)('%s reads %j', async ([name, text]) => {
      expect((await parse(`enmime/${name}.raw`)).text).toBe(text);
    });
  });

  test("of SpamAssassin has its sample's list and its marker", async () => {
    expect((await parse('spamassassin/sample-spam.txt')).text).toContain('XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE');
    expect((await parse('spamassassin/sample-nonspam.txt')).text).toContain('BEGIN PGP SIGNED MESSAGE');
  });
});
