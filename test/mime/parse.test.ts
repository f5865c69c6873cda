import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail, multipart } from './mail.ts';

const utf8 = (text: string): Buffer => Buffer.from(text, 'utf8');
const codes = ({ parse }: { parse: { warnings: readonly { code: string }[] } }): string[] =>
  parse.warnings.map((warning) => warning.code);

describe('the header section', () => {
  test('gives the fields that everybody asks for', async () => {
    const message = await parseMessage(
      mail(
        'Return-Path: <bounce@example.com>\n',
        'Date: Mon, 01 Jan 2024 10:00:00 +0200 (CEST)\n',
        'From: "Doe, Jane" <jane@example.com>\n',
        'Sender: robot@example.com\n',
        'Reply-To: help@example.com\n',
        'To: a@example.com, Team: b@example.com, "C" <c@example.com>;\n',
        'Cc: undisclosed-recipients:;\n',
        'Bcc: d@example.com\n',
        'Message-ID: <1@example.com>\n',
        'In-Reply-To: Your mail of Sunday <0@example.com>\n',
        'References: <a@example.com>\n\t<b@example.com>\n',
        'Subject: Hello\n\n',
        'Hi.\n',
      ),
    );
    expect(message).toMatchObject({
      messageId: '<1@example.com>',
      date: '2024-01-01T08:00:00.000Z',
      subject: 'Hello',
      from: [{ name: 'Doe, Jane', address: 'jane@example.com', group: null }],
      sender: [{ name: null, address: 'robot@example.com', group: null }],
      replyTo: [{ name: null, address: 'help@example.com', group: null }],
      to: [
        { name: null, address: 'a@example.com', group: null },
        { name: null, address: 'b@example.com', group: 'Team' },
        { name: 'C', address: 'c@example.com', group: 'Team' },
      ],
      cc: [{ name: null, address: null, group: 'undisclosed-recipients' }],
      bcc: [{ name: null, address: 'd@example.com', group: null }],
      inReplyTo: '<0@example.com>',
      references: ['<a@example.com>', '<b@example.com>'],
      text: 'Hi.\n',
      html: null,
      snippet: 'Hi.',
      attachments: [],
      parse: { status: 'ok', warnings: [] },
    });
  });

  test('is listed in order, in the original case, unfolded and decoded', async () => {
    const message = await parseMessage(
      mail('Received: one\nX-Odd:  spaced \t\nRECEIVED: two\n\tand more\nX-Word: =?utf-8?Q?caf=C3=A9?=\n\nx'),
    );
    expect(message.headers).toEqual([
      { name: 'Received', value: 'one' },
      { name: 'X-Odd', value: 'spaced' },
      { name: 'RECEIVED', value: 'two\tand more' },
      { name: 'X-Word', value: 'café' },
    ]);
  });

  test.for([
    ['=?utf-8?Q?caf=C3=A9_au_lait?=', 'café au lait'],
    ['=?utf-8?B?Y2Fmw6k=?=', 'café'],
    ['=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?=', 'café'],
    ['=?utf-8?B?4oI=?=\n =?utf-8?B?rA==?=', '€'],
    ['=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=', '日本'],
    ['=?windows-1251?Q?=CF=F0=E8=E2=E5=F2?=', 'Привет'],
    ['=?iso-8859-1*fr?Q?=E9t=E9?=', 'été'],
    ['Re: =?utf-8?Q?=F0=9F=93=AC?= mail', 'Re: 📬 mail'],
    ['=?utf-8?Q?unfinished', '=?utf-8?Q?unfinished'],
    ['=?no-such-charset?Q?abc?=', 'abc'],
    ['', ''],
  ] as const)('subject %j reads %j', async ([written, subject]) => {
    expect((await parseMessage(mail(`Subject: ${written}\n\nx`))).subject).toBe(subject);
  });

  test('raw bytes are read as UTF-8, and as Windows-1252 where they are not', async () => {
    expect((await parseMessage(mail('Subject: ', utf8('日本'), '\n\nx'))).subject).toBe('日本');
    expect((await parseMessage(mail('Subject: caf\u00e9\n\nx'))).subject).toBe('café');
  });

  test('of fields that may stand once the first counts, as in mail clients', async () => {
    const message = await parseMessage(mail('From: a@x.example\nSubject: one\nSubject: two\nFrom: b@x.example\n\nx'));
    expect(message.subject).toBe('one');
    expect(message.from.map((from) => from.address)).toEqual(['a@x.example']);
  });

  test('an address within an encoded name stays a name', async () => {
    const { from } = await parseMessage(
      mail('From: =?utf-8?Q?=22CEO=22_=3Cceo=40bank.example=3E?= <me@evil.example>\n\nx'),
    );
    expect(from).toEqual([{ name: '"CEO" <ceo@bank.example>', address: 'me@evil.example', group: null }]);
  });

  test('a date that is none is null with a warning, never today', async () => {
    const message = await parseMessage(mail('Date: soon\n\nx'));
    expect(message.date).toBeNull();
    expect(codes(message)).toEqual(['date_invalid']);
    expect(message.headers).toEqual([{ name: 'Date', value: 'soon' }]);
  });

  test('lines that are no fields are warned of; the separator of an mbox file is not', async () => {
    expect(codes(await parseMessage(mail('Subject: x\nnot a field\n\nx')))).toEqual(['headers_malformed']);
    expect(codes(await parseMessage(mail('From jane Mon Jan  1 10:00:00 2024\nSubject: x\n\nx')))).toEqual([]);
  });
});

describe('text and HTML', () => {
  test.for([
    ['plain', 'text/plain; charset=us-ascii', '7bit', 'hello', 'hello'],
    ['quoted-printable UTF-8', 'text/plain; charset=utf-8', 'quoted-printable', 'caf=C3=A9 =\n=E2=82=AC', 'café €'],
    ['base64', 'text/plain; charset=utf-8', 'base64', 'Y2Fmw6k=', 'café'],
    ['ISO-2022-JP', 'text/plain; charset=ISO-2022-JP', '7bit', '\u001b$BF|K\\\u001b(B', '日本'],
    ['windows-1251', 'text/plain; charset="windows-1251"', '8bit', '\u00cf\u00f0\u00e8\u00e2\u00e5\u00f2', 'Привет'],
    ['KOI8-R', 'text/plain; charset=koi8-r', 'base64', '8NLJ18XU', 'Привет'],
    ['GB18030', 'text/plain; charset=gb18030', 'base64', '1tDOxA==', '中文'],
    ['Shift_JIS', 'text/plain; charset=shift_jis', 'base64', 'k/qWew==', '日本'],
    ['UTF-16', 'text/plain; charset=utf-16le', 'base64', 'aABpAA==', 'hi'],
    ['format=flowed', 'text/plain; format=flowed', '7bit', 'one \ntwo\nthree', 'one two\nthree'],
  ] as const)('%s is decoded', async ([, type, encoding, body, text]) => {
    const message = await parseMessage(
      mail(`Content-Type: ${type}\nContent-Transfer-Encoding: ${encoding}\n\n${body}`),
    );
    expect(message.text).toBe(text);
    expect(message.parse.status).toBe('ok');
  });

  test('of alternatives the text is the text and the HTML the HTML', async () => {
    const message = await parseMessage(
      multipart('alternative', 'Content-Type: text/plain\n\nplain', 'Content-Type: text/html\n\n<p>rich</p>'),
    );
    expect(message).toMatchObject({ text: 'plain', html: '<p>rich</p>', parse: { status: 'ok' } });
  });

  test('where there is only HTML the text is made from it', async () => {
    const html = '<h1>Bill</h1><p>Pay <a href="https://x.example/pay">here</a></p><img src="cid:1">';
    const message = await parseMessage(mail(`Content-Type: text/html\n\n${html}`));
    expect(message.html).toBe(html);
    expect(message.text).toBe('Bill\n\nPay here [https://x.example/pay]');
    expect(message.snippet).toBe('Bill Pay here [https://x.example/pay]');
  });

  test('an empty text alternative does not silence the HTML', async () => {
    const message = await parseMessage(
      multipart('alternative', 'Content-Type: text/plain\n\n \n', 'Content-Type: text/html\n\n<p>rich</p>'),
    );
    expect(message.text).toContain('rich');
  });

  test("a list's footer does not replace the text of the HTML that it follows", async () => {
    const message = await parseMessage(
      multipart('mixed', 'Content-Type: text/html\n\n<p>body</p>', 'Content-Type: text/plain\n\nfooter'),
    );
    expect(message).toMatchObject({ text: 'body\nfooter', html: '<p>body</p>' });
  });

  test('HTML is kept as it is: links, images and scripts are the reader’s to deal with', async () => {
    const html = '<script>x()</script><img src="cid:logo@x"> http://x.example';
    const message = await parseMessage(
      multipart(
        'related',
        `Content-Type: text/html\n\n${html}`,
        'Content-Type: image/png\nContent-ID: <logo@x>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=',
      ),
    );
    expect(message.html).toBe(html);
    expect(message.attachments).toEqual([
      expect.objectContaining({
        contentType: 'image/png',
        contentId: 'logo@x',
        inline: true,
        disposition: null,
        size: 8,
      }),
    ]);
  });

  test('text after an attachment is whole, in whatever charset and format', async () => {
    const lines = 'a line of text that goes on and on and on \nand ends\n'.repeat(10_000);
    const message = await parseMessage(
      multipart(
        'mixed',
        'Content-Type: application/pdf\n\nx',
        `Content-Type: text/plain; charset=iso-2022-jp; format=flowed\n\n${lines}`,
      ),
    );
    expect(message.text?.trimEnd()).toBe(
      'a line of text that goes on and on and on and ends\n'.repeat(10_000).trimEnd(),
    );
  });

  test('NULs and lone surrogates become U+FFFD', async () => {
    const message = await parseMessage(mail('Subject: a\0b\n\nx\0y'));
    expect(message).toMatchObject({ subject: 'a\uFFFDb', text: 'x\uFFFDy' });
    const utf16 = await parseMessage(
      mail('Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\nANhhAA=='),
    );
    expect(utf16.text?.isWellFormed()).toBe(true);
  });
});

describe('attachments', () => {
  test('are described in document order and not kept', async () => {
    const content = Buffer.from([0, 1, 2, 255]);
    const message = await parseMessage(
      multipart(
        'mixed',
        'Content-Type: text/plain\n\nsee below',
        `Content-Type: application/pdf; name="old.pdf"\nContent-Disposition: attachment; filename="bill.pdf"\nContent-Transfer-Encoding: base64\n\n${content.toString('base64')}`,
        'Content-Type: text/csv\nContent-Disposition: inline; filename=a.csv\n\n1,2',
      ),
    );
    expect(message.text).toBe('see below');
    expect(message.attachments).toEqual([
      {
        id: 'att_1',
        part: '2',
        filename: 'bill.pdf',
        contentType: 'application/pdf',
        detectedContentType: null,
        disposition: 'attachment',
        contentId: null,
        inline: false,
        size: 4,
        sha256: createHash('sha256').update(content).digest('hex'),
        source: { offset: expect.any(Number) as number, length: 8, encoding: 'base64' },
      },
      expect.objectContaining({
        id: 'att_2',
        filename: 'a.csv',
        contentType: 'text/csv',
        disposition: 'inline',
        inline: true,
      }),
    ]);
  });

  test.for([
    ["filename*=utf-8''%E2%82%AC%20rates.txt", '€ rates.txt'],
    ['filename*0*=utf-8\'\'%E2%82; filename*1*=%AC; filename*2=".txt"', '€.txt'],
    ['filename*0="long"; filename*1="name.txt"', 'longname.txt'],
    ["filename*=iso-8859-1'en'%A3.txt", '£.txt'],
    ['filename="=?utf-8?Q?caf=C3=A9=2Etxt?="', 'café.txt'],
    ['filename="../../etc/passwd"', '../../etc/passwd'],
    ['filename="a\0b.txt"', 'a\uFFFDb.txt'],
    ['x=y', null],
  ] as const)('file name %j reads %j', async ([parameter, filename]) => {
    const message = await parseMessage(multipart('mixed', `Content-Disposition: attachment; ${parameter}\n\nx`));
    expect(message.attachments[0]?.filename).toBe(filename);
  });

  test.for([
    ['APPLICATION/PDF', 'application/pdf'],
    ['application/x-evil\u00e9', 'application/octet-stream'],
    ['"><script>', 'application/octet-stream'],
    ['application', 'application/octet-stream'],
  ] as const)('content type %j comes out as %j', async ([written, contentType]) => {
    const message = await parseMessage(mail(`Content-Type: ${written}\nContent-Disposition: attachment\n\nx`));
    expect(message.attachments[0]?.contentType).toBe(contentType);
  });

  test('a forwarded message is one attachment, and its content none of the message that carries it', async () => {
    const inner = mail('Subject: inner\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\ninner text\n--c--\n');
    for (const disposition of ['', 'Content-Disposition: inline\n', 'Content-Disposition: attachment\n']) {
      const message = await parseMessage(
        multipart('mixed', '\nouter', mail(`Content-Type: message/rfc822\n${disposition}\n`, inner)),
      );
      expect(message.text).toBe('outer');
      expect(message.attachments).toHaveLength(1);
      expect(message.attachments[0]?.contentType).toBe('message/rfc822');
    }
  });

  test('a bounce has its report for people as text, and for programs as attachments', async () => {
    const message = await parseMessage(
      multipart(
        'report; report-type=delivery-status',
        '\nYour mail could not be delivered.',
        'Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; a@x.example\nAction: failed',
        'Content-Type: text/rfc822-headers\n\nSubject: lost',
      ),
    );
    expect(message.text).toBe('Your mail could not be delivered.');
    expect(message.attachments.map((each) => each.contentType)).toEqual([
      'message/delivery-status',
      'text/rfc822-headers',
    ]);
  });

  test('an invitation has its calendar as an attachment', async () => {
    const message = await parseMessage(
      multipart(
        'alternative',
        'Content-Type: text/plain\n\nCome!',
        'Content-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\nEND:VCALENDAR',
      ),
    );
    expect(message).toMatchObject({
      text: 'Come!',
      attachments: [{ contentType: 'text/calendar', disposition: null }],
    });
  });
});

describe('broken messages', () => {
  const part = '--b\nContent-Type: text/plain\n\nthe words\n--b--\n';

  test.for([
    ['boundary_missing', 'multipart/mixed'],
    ['boundary_missing', 'multipart/mixed; boundary=""'],
    ['boundary_unseen', 'multipart/mixed; boundary=other'],
  ] as const)('%s: a %s is kept as text', async ([code, type]) => {
    const message = await parseMessage(mail(`Subject: x\nContent-Type: ${type}\n\n${part}`));
    expect(message.text).toBe(part);
    expect(message.parse).toEqual({ status: 'partial', warnings: [{ code, detail: expect.any(String) }] });
  });

  test('a multipart within a multipart loses nothing either, and its siblings are read', async () => {
    const message = await parseMessage(
      multipart(
        'mixed',
        'Content-Type: multipart/alternative\n\nfirst words\n',
        '\nsecond words',
        'Content-Type: multipart/related; boundary=zzz\n\nthird words\n',
      ),
    );
    expect(message.text).toMatch(/^first words\s+second words\s+third words\s/);
    expect(codes(message)).toEqual(['boundary_missing', 'boundary_unseen']);
  });

  test('a preamble and an epilogue are not text', async () => {
    const message = await parseMessage(
      mail('Content-Type: multipart/mixed; boundary=b\n\nThis is MIME.\n--b\n\nwords\n--b--\nThe end.\n'),
    );
    expect(message).toMatchObject({ text: 'words', parse: { status: 'ok' } });
  });

  test('a message that is cut off gives what it has', async () => {
    const message = await parseMessage(
      mail(
        'Content-Type: multipart/mixed; boundary=b\n\n--b\n\nwords\n--b\nContent-Type: application/pdf\n\nhalf a pd',
      ),
    );
    expect(message).toMatchObject({ text: 'words', attachments: [{ size: 9 }] });
  });

  test.for(['x-no-such-charset', 'base64', 'hex', '__proto__'])(
    'charset %s is left undecoded, with a warning',
    async (charset) => {
      const message = await parseMessage(mail(`Content-Type: text/plain; charset=${charset}\n\n+ADw-b+AD4-`));
      expect(message.text).toBe('+ADw-b+AD4-');
      expect(codes(message)).toEqual(['charset_unsupported']);
    },
  );

  test('an unknown transfer encoding is left encoded, with a warning', async () => {
    const message = await parseMessage(mail('Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a'));
    expect(message.text).toBe('begin 644 a');
    expect(codes(message)).toEqual(['encoding_unsupported']);
  });

  test('an empty message is a message', async () => {
    const message = await parseMessage(new Uint8Array());
    expect(message).toMatchObject({ text: null, html: null, headers: [], snippet: '', attachments: [] });
    expect(codes(message)).toEqual(['headers_missing']);
  });

  test('a message of headers alone is one, with or without the empty line', async () => {
    for (const raw of ['Subject: x', 'Subject: x\n', 'Subject: x\n\n']) {
      expect(await parseMessage(mail(raw))).toMatchObject({ subject: 'x', text: null, parse: { status: 'ok' } });
    }
  });

  test('a message without headers is all text', async () => {
    for (const raw of ['just words\nand more\n\nand more\n', '\njust words\n']) {
      const message = await parseMessage(mail(raw));
      expect(message.text).toBe(raw.replace(/^\n/, ''));
      expect(codes(message)).toContain('headers_missing');
    }
  });

  test('bare line feeds and bare carriage returns do not matter', async () => {
    const raw = 'Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nwords\nwords\n--b--\n';
    expect(await parseMessage(Buffer.from(raw))).toMatchObject({ subject: 'x', text: 'words\nwords' });
    expect(await parseMessage(Buffer.from('Subject: x\r\n\r\na\rb\r\n'))).toMatchObject({
      subject: 'x',
      text: 'a\rb\n',
    });
  });

  test('binary garbage is text of a kind', async () => {
    const message = await parseMessage(Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 7919) % 256)));
    expect(message.parse.status).toBe('partial');
    expect(message.text?.length).toBeGreaterThan(1000);
  });
});
