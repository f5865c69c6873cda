import { describe, expect, test } from 'vitest';
import { replyCharsMax } from '../../src/mime/limits.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { stripReply } from '../../src/mime/reply.ts';
import { mail } from './mail.ts';

const quoted = '> Can we meet on Tuesday?\n>\n> Bob\n';

describe('the reply in a text', () => {
  test.each([
    [
      'Gmail',
      `That works.\n\nOn Mon, Nov 23, 2026 at 10:00 AM Bob <bob@example.com> wrote:\n\n${quoted}`,
      'That works.',
    ],
    [
      'Gmail, its line broken',
      `Yes!\n\nOn Mon, Nov 23, 2026 at 10:00 AM A Very Long Name <\nlong@example.com> wrote:\n\n${quoted}`,
      'Yes!',
    ],
    ['Apple Mail', `Fine.\n\nOn 23 Nov 2026, at 10:00, Bob <bob@example.com> wrote:\n\n${quoted}`, 'Fine.'],
    [
      'iOS',
      `Good\n\nSent from my iPhone\n\n> On Nov 23, 2026, at 10:00 AM, Bob <bob@example.com> wrote:\n> \n${quoted}`,
      'Good',
    ],
    [
      'Outlook',
      'I agree.\n\n-----Original Message-----\nFrom: Bob <bob@example.com>\nSent: Monday, November 23, 2026 10:00 AM\nTo: Jane\nSubject: Meeting\n\nCan we?\n',
      'I agree.',
    ],
    [
      'Outlook on the web',
      'I agree.\n\n________________________________\nFrom: Bob <bob@example.com>\nSent: Monday, November 23, 2026 10:00 AM\nTo: Jane <jane@example.com>\nSubject: Meeting\n\nCan we?\n',
      'I agree.',
    ],
    [
      'Thunderbird in German',
      `Passt gut.\n\nAm 23.11.2026 um 10:00 schrieb Bob <bob@example.com>:\n${quoted}`,
      'Passt gut.',
    ],
    [
      'Outlook in German',
      'Einverstanden.\n\nVon: Bob <bob@example.com>\nGesendet: Montag, 23. November 2026 10:00\nAn: Jane\nBetreff: Termin\n\nPasst das?\n',
      'Einverstanden.',
    ],
    ['Gmail in French', `Oui.\n\nLe lun. 23 nov. 2026 à 10:00, Bob <bob@example.com> a écrit :\n\n${quoted}`, 'Oui.'],
    [
      'Gmail in Spanish',
      `Gracias\n\nEl lun, 23 nov 2026 a las 10:00, Bob (<bob@example.com>) escribió:\n\n${quoted}`,
      'Gracias',
    ],
    ['a signature', 'See below.\n\n-- \nJane Doe\nACME Ltd\n', 'See below.'],
    ['an answer below the question', `On Mon, Nov 23, 2026, Bob wrote:\n${quoted}\nYes we can.\n`, 'Yes we can.'],
    ['answers between the questions', '> First?\n\nYes.\n\n> Second?\n\nNo.\n', 'Yes.\nNo.'],
    [
      'a mail that is no reply',
      'The order 42 has not arrived.\nOn Monday I called: nothing.\n',
      'The order 42 has not arrived.\nOn Monday I called: nothing.',
    ],
    ['nothing but what is quoted', quoted, ''],
  ])('%s', (_, text, reply) => {
    expect(stripReply(text)).toEqual({ text: reply, cut: false });
  });

  test('keeps lines of any length, its own, and leaves out quoted ones', () => {
    const long = 'a sentence that goes on and on '.repeat(40).trim();
    expect(stripReply(`${long}\n\nAnd this.\n\n> ${long}\n`).text).toBe(`${long}\n\nAnd this.`);
    expect(stripReply(`a\n${long}\n\uE0000\uE000\n${long}`).text).toBe(`a\n${long}\n0\n${long}`);
  });

  test.each([
    ['>'],
    ['>\n'],
    ['On '],
    ['On x\n'],
    ['\n'],
    ['\n\na'],
    [' '],
    ['-'],
    ['_'],
    ['-- \n'],
    ['Sent from my '],
    ['<'],
    ['On x wrote '],
    ['On Mon, Nov 23, 2026 at 10:00 AM Bob <\n'],
    ['Am 23.11.2026 '],
    ['Am 23.11.2026\n'],
    ['From: a\nSent: b\n'],
    ['*From:* x\n'],
    ['\u3000'],
    [`${'On '.repeat(99)}\n`],
    [`${'Am 23.11.2026 '.repeat(21)}\n`],
  ])(
    'is found in bounded time in a great many %j, and only the beginning is looked at',
    (what) => {
      const { text, cut } = stripReply(what.repeat(Math.ceil((replyCharsMax + 1) / what.length)));
      expect(cut).toBe(true);
      expect(text.length).toBeLessThanOrEqual(replyCharsMax);
    },
    2_000,
  );

  test('is part of the message, made from the HTML where it has no text, and null where it has neither', async () => {
    expect(await parseMessage(mail(`Subject: x\n\nYes.\n\nOn Mon, Bob <b@example.com> wrote:\n> no?\n`))).toMatchObject(
      {
        strippedReply: 'Yes.',
        strippedReplyTruncated: false,
      },
    );
    expect(await parseMessage(mail('Content-Type: text/html\n\n<p>Yes.</p><p>-- <br>Jane</p>'))).toMatchObject({
      strippedReply: 'Yes.',
    });
    expect(await parseMessage(mail('Content-Type: image/png\n\nx'))).toMatchObject({ strippedReply: null });
  });
});
