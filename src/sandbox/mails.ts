/**
 * A dozen mails, each of another kind, to see what becomes of them: the same bytes on every machine and in every run.
 *
 * Names and addresses are those that RFC 2606 keeps for examples. The last mail is broken on purpose.
 */

import { ENVELOPE_PNG, makePdf } from './mail-attachments.ts';
import {
  base64,
  encodedWords,
  entity,
  extendedParameter,
  lines,
  mail,
  multipart,
  quotedPrintable,
  windows1251,
} from './mail-builder.ts';

export interface SandboxMail {
  /** What kind of mail it is, in a few words. */
  readonly title: string;
  /** With CRLF line ends. */
  readonly raw: Buffer;
}

const SUPPORT = 'Support <support@example.com>';
const TEXT = 'text/plain; charset=us-ascii';

export function sandboxMails(): readonly SandboxMail[] {
  const mails: readonly (readonly [title: string, bytes: string])[] = [
    ['plain text', plainText()],
    ['umlauts and emoji', umlautsAndEmoji()],
    ['HTML with an inline picture', inlinePicture()],
    ['attachments', attachments()],
    ['Japanese, ISO-2022-JP', japanese()],
    ['Russian, windows-1251', russian()],
    ['bounce', bounce()],
    ['calendar invitation', invitation()],
    ['mailing list', mailingList()],
    ['forwarded message', forwarded()],
    ['leading dots and a long line', dotsAndLongLine()],
    ['broken MIME', broken()],
  ];
  return mails.map(([title, bytes]) => ({ title, raw: Buffer.from(bytes, 'latin1') }));
}

function plainText(): string {
  return mail(
    {
      id: 'plain-1',
      from: 'Ann Archer <ann@example.org>',
      to: SUPPORT,
      subject: 'Where is my order 4711?',
      sentAt: '2026-11-02T09:15:00Z',
    },
    entity(
      { 'Content-Type': TEXT, 'Content-Transfer-Encoding': '7bit' },
      lines(
        'Hello,',
        '',
        'I ordered a lamp on 19 October and have heard nothing since.',
        'Order number: 4711',
        '',
        'Ann',
      ),
    ),
  );
}

function umlautsAndEmoji(): string {
  const text = lines(
    'Grüß Gott,',
    '',
    'die Lampe ist da, aber der Schalter klemmt 😕. Könnten Sie mir bitte einen neuen schicken? Größe M genügt.',
    '',
    'Schöne Grüße aus Köln 🎉',
    'Jürgen Müller',
  );
  return mail(
    {
      id: 'umlauts-2',
      from: `${encodedWords('Jürgen Müller')} <juergen@example.org>`,
      to: SUPPORT,
      subject: encodedWords('Rückfrage: der Schalter der Lampe klemmt – bitte um Ersatz 🙏'),
      sentAt: '2026-11-03T07:40:00Z',
    },
    entity(
      { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Transfer-Encoding': 'quoted-printable' },
      quotedPrintable(text),
    ),
  );
}

function inlinePicture(): string {
  const html = lines(
    '<!doctype html>',
    '<html><body>',
    '<h1>News in November</h1>',
    '<p><img src="cid:envelope@example.com" width="16" height="16" alt="envelope"> You have mail, see <a href="https://www.example.com/news">our news</a>.</p>',
    '</body></html>',
  );
  const picture = entity(
    {
      'Content-Type': 'image/png; name="envelope.png"',
      'Content-Transfer-Encoding': 'base64',
      'Content-ID': '<envelope@example.com>',
      'Content-Disposition': 'inline; filename="envelope.png"',
    },
    base64(ENVELOPE_PNG),
  );
  const page = entity(
    { 'Content-Type': 'text/html; charset=utf-8', 'Content-Transfer-Encoding': 'quoted-printable' },
    quotedPrintable(html),
  );
  return mail(
    {
      id: 'picture-3',
      from: 'Example News <news@example.com>',
      to: SUPPORT,
      subject: 'News in November',
      sentAt: '2026-11-04T12:00:00Z',
    },
    multipart('alternative', 'alternative-3', [
      entity({ 'Content-Type': TEXT }, lines('News in November', '', 'You have mail: https://www.example.com/news')),
      multipart('related; type="text/html"', 'related-3', [page, picture]),
    ]),
  );
}

function attachments(): string {
  const csv = Buffer.from(lines('Artikel;Menge;Preis', 'Lampe;2;39,90', 'Glühbirne;10;4,50'));
  return mail(
    {
      id: 'attachments-4',
      from: 'Billing <billing@example.org>',
      to: SUPPORT,
      subject: 'Invoice 2026-117',
      sentAt: '2026-11-05T16:20:00Z',
    },
    multipart('mixed', 'mixed-4', [
      entity({ 'Content-Type': TEXT }, lines('Please find the invoice and the list of items attached.')),
      entity(
        {
          'Content-Type': 'application/pdf; name="invoice-2026-117.pdf"',
          'Content-Transfer-Encoding': 'base64',
          'Content-Disposition': 'attachment; filename="invoice-2026-117.pdf"',
        },
        base64(makePdf('Invoice 2026-117: EUR 124.80')),
      ),
      entity(
        {
          'Content-Type': 'text/csv; charset=utf-8',
          'Content-Transfer-Encoding': 'base64',
          'Content-Disposition': `attachment;\r\n ${extendedParameter('filename', 'Übersicht Oktober – Größen.csv')}`,
        },
        base64(csv),
      ),
    ]),
  );
}

/** Written out in its 7-bit bytes, since node decodes ISO-2022-JP but does not encode it. The meaning is beside each line. */
function japanese(): string {
  return mail(
    {
      id: 'japanese-5',
      // Tanaka
      from: `=?ISO-2022-JP?B?${Buffer.from('\x1b$BEDCf\x1b(B').toString('base64')}?= <tanaka@example.jp>`,
      to: SUPPORT,
      // Notice of a meeting
      subject: `=?ISO-2022-JP?B?${Buffer.from('\x1b$B2q5D$N$*CN$i$;\x1b(B').toString('base64')}?=`,
      sentAt: '2026-11-06T01:05:00Z',
    },
    entity(
      { 'Content-Type': 'text/plain; charset=ISO-2022-JP', 'Content-Transfer-Encoding': '7bit' },
      lines(
        // Dear Sato,
        '\x1b$B:4F#MM\x1b(B',
        '',
        // the usual opening
        '\x1b$B$*@$OC$K$J$C$F$*$j$^$9!#\x1b(B',
        // The next meeting is on 12 November from two in the afternoon.
        '\x1b$B<!2s$N2q5D$O==0l7n==FsF|$N8a8eFs;~$+$i$G$9!#\x1b(B',
        // the usual close
        '\x1b$B$h$m$7$/$*4j$$$$$?$7$^$9!#\x1b(B',
      ),
    ),
  );
}

function russian(): string {
  const subject = Buffer.from(windows1251('Вопрос о доставке'), 'latin1').toString('base64');
  return mail(
    {
      id: 'russian-6',
      from: 'Ivan Petrov <ivan@example.org>',
      to: SUPPORT,
      subject: `=?windows-1251?B?${subject}?=`,
      sentAt: '2026-11-09T10:30:00Z',
    },
    entity(
      { 'Content-Type': 'text/plain; charset=windows-1251', 'Content-Transfer-Encoding': '8bit' },
      windows1251(lines('Здравствуйте!', '', 'Когда будет доставлен мой заказ?', 'Спасибо.')),
    ),
  );
}

/** RFC 3464. */
function bounce(): string {
  const status = lines(
    'Reporting-MTA: dns; mx.example.com',
    'Arrival-Date: Tue, 10 Nov 2026 08:00:00 +0000',
    '',
    'Final-Recipient: rfc822; nobody@example.org',
    'Action: failed',
    'Status: 5.1.1',
    'Remote-MTA: dns; mx.example.org',
    'Diagnostic-Code: smtp; 550 5.1.1 <nobody@example.org>: no such user here',
  );
  const original = lines(
    'From: Support <support@example.com>',
    'To: nobody@example.org',
    'Subject: Your request 4711',
    'Date: Tue, 10 Nov 2026 08:00:00 +0000',
    'Message-ID: <request-4711@example.com>',
  );
  return mail(
    {
      id: 'bounce-7',
      from: 'Mail Delivery System <mailer-daemon@mx.example.com>',
      to: SUPPORT,
      subject: 'Undelivered Mail Returned to Sender',
      sentAt: '2026-11-10T08:00:03Z',
      fields: { 'Return-Path': '<>', 'Auto-Submitted': 'auto-replied' },
    },
    multipart('report; report-type=delivery-status', 'report-7', [
      entity({ 'Content-Type': TEXT }, lines('Your message to <nobody@example.org> could not be delivered.')),
      entity({ 'Content-Type': 'message/delivery-status' }, status),
      entity({ 'Content-Type': 'text/rfc822-headers' }, original),
    ]),
  );
}

/** RFC 5546 in RFC 6047's form. */
function invitation(): string {
  const calendar = lines(
    'BEGIN:VCALENDAR',
    'PRODID:-//Example Corp//Calendar//EN',
    'VERSION:2.0',
    'METHOD:REQUEST',
    'BEGIN:VEVENT',
    'UID:review-8@example.com',
    'DTSTAMP:20261111T090000Z',
    'DTSTART:20261118T130000Z',
    'DTEND:20261118T140000Z',
    'SUMMARY:Review of the year',
    'LOCATION:Room 3',
    'ORGANIZER;CN=Ann Archer:mailto:ann@example.org',
    'ATTENDEE;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:support@example.com',
    'SEQUENCE:0',
    'END:VEVENT',
    'END:VCALENDAR',
  );
  return mail(
    {
      id: 'invitation-8',
      from: 'Ann Archer <ann@example.org>',
      to: SUPPORT,
      subject: 'Invitation: Review of the year, Wed 18 Nov 2026 13:00 UTC',
      sentAt: '2026-11-11T09:00:00Z',
    },
    multipart('alternative', 'alternative-8', [
      entity(
        { 'Content-Type': TEXT },
        lines('Review of the year', 'Wednesday 18 November 2026, 13:00 to 14:00 UTC, Room 3'),
      ),
      entity({ 'Content-Type': 'text/calendar; charset=utf-8; method=REQUEST' }, calendar),
    ]),
  );
}

/** RFC 2369, RFC 2919 and the one-click form of RFC 8058. */
function mailingList(): string {
  return mail(
    {
      id: 'list-9',
      from: 'Ben Baker <ben@example.org>',
      to: 'lamps@lists.example.org',
      subject: '[lamps] Re: Which bulb fits?',
      sentAt: '2026-11-12T19:45:00Z',
      fields: {
        Sender: 'lamps-bounces@lists.example.org',
        'In-Reply-To': '<bulb-8@example.com>',
        References: '<bulb-7@example.com>\r\n <bulb-8@example.com>',
        Precedence: 'list',
        'List-Id': 'Lamps and bulbs <lamps.lists.example.org>',
        'List-Post': '<mailto:lamps@lists.example.org>',
        'List-Unsubscribe':
          '<https://lists.example.org/lamps/leave?member=support>,\r\n <mailto:lamps-leave@lists.example.org>',
        'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
      },
    },
    entity(
      { 'Content-Type': TEXT },
      lines('On Thu, 12 Nov 2026, Cleo wrote:', '> Which bulb fits?', '', 'E27, like nearly all.', '', '-- ', 'Ben'),
    ),
  );
}

function forwarded(): string {
  const original = mail(
    {
      id: 'original-10',
      from: 'Cleo <cleo@example.jp>',
      to: 'Ann Archer <ann@example.org>',
      subject: encodedWords('Lampe „Größe M“ zurückgeben'),
      sentAt: '2026-11-12T20:10:00Z',
    },
    multipart('mixed', 'inner-10', [
      entity({ 'Content-Type': TEXT }, lines('I would like to return this lamp, a picture of it is attached.')),
      entity(
        {
          'Content-Type': 'image/png',
          'Content-Transfer-Encoding': 'base64',
          'Content-Disposition': 'attachment; filename="lamp.png"',
        },
        base64(ENVELOPE_PNG),
      ),
    ]),
  );
  return mail(
    {
      id: 'forwarded-10',
      from: 'Ann Archer <ann@example.org>',
      to: SUPPORT,
      subject: 'Fwd: a lamp to return',
      sentAt: '2026-11-13T08:00:00Z',
    },
    multipart('mixed', 'outer-10', [
      entity({ 'Content-Type': TEXT }, lines('Could you take care of this one?')),
      entity({ 'Content-Type': 'message/rfc822', 'Content-Disposition': 'attachment' }, original),
    ]),
  );
}

/** What dot-stuffing is for (RFC 1939 section 3), and a line beyond the 998 characters of RFC 5322 section 2.1.1. */
function dotsAndLongLine(): string {
  return mail(
    {
      id: 'dots-11',
      from: 'cron <cron@example.org>',
      to: SUPPORT,
      subject: 'Output of the nightly job',
      sentAt: '2026-11-16T03:00:00Z',
    },
    entity({ 'Content-Type': TEXT }, lines('.', '..', '...', '.profile', '.', 'x'.repeat(5_000), '.')),
  );
}

/** A multipart that never closes, a quote that never does, a charset that does not exist, base64 that is none. */
function broken(): string {
  return mail(
    {
      id: 'broken-12',
      from: '"Unclosed <broken@example.org',
      to: SUPPORT,
      subject: 'Scan from the printer on floor 2',
      sentAt: '2026-11-17T23:59:59Z',
    },
    entity(
      { 'Content-Type': 'multipart/mixed; boundary="never-closed"' },
      [
        '--never-closed\r\n',
        entity({ 'Content-Type': 'text/plain; charset=x-no-such-charset' }, lines('caf\xe9, still to be read')),
        '--never-closed\r\n',
        entity(
          {
            'Content-Type': 'application/octet-stream',
            'Content-Transfer-Encoding': 'base64',
            'Content-Disposition': 'attachment; filename="half.bin"',
          },
          lines('SGVsbG8sIHRoaXMg*** not base64 ***', '\xff\xfe==AAA'),
        ),
      ].join(''),
    ),
  );
}
