import { describe, expect, it } from 'vitest';
import { parseCapabilities } from '../../src/pop3/capabilities.ts';
import { recogniseProtocol } from '../../src/pop3/foreign-protocol.ts';
import { serverTextCharsMax } from '../../src/pop3/limits.ts';
import {
  parseListLine,
  parseStat,
  parseStatusLine,
  parseUidlLine,
  quoteServerText,
  readRefusal,
} from '../../src/pop3/replies.ts';

describe('a status line', () => {
  it.each([
    ['+OK', { ok: true, responseCode: null, text: '' }],
    ['+OK ', { ok: true, responseCode: null, text: '' }],
    ['+ok   2   320', { ok: true, responseCode: null, text: '2   320' }],
    ['+OK, ready', { ok: true, responseCode: null, text: ', ready' }],
    ['-ERR', { ok: false, responseCode: null, text: '' }],
    ['-err\tno', { ok: false, responseCode: null, text: 'no' }],
    ['-ERR [IN-USE] busy', { ok: false, responseCode: 'IN-USE', text: 'busy' }],
    ['-ERR [sys/temp]', { ok: false, responseCode: 'SYS/TEMP', text: '' }],
    ['-ERR [no code] text', { ok: false, responseCode: null, text: '[no code] text' }],
    ['\0\ufeff +OK hello', { ok: true, responseCode: null, text: 'hello' }],
    ['+OK grüß dich', { ok: true, responseCode: null, text: 'grüß dich' }],
  ])('%j is read', (line, expected) => {
    const octets = Buffer.from(expected.text).toString('latin1');
    expect(parseStatusLine(Buffer.from(line))).toEqual({ ...expected, line, octets });
  });

  it.each(['', 'x+OK', '+', '+ OK', '+\r+OK', '+OKAY', '-ERROR', '-ERR2', '* OK', '220 hello', 'OK'])(
    '%j is none',
    (line) => {
      expect(parseStatusLine(Buffer.from(line))).toBeNull();
    },
  );
});

describe('a refused login', () => {
  it.each([
    ['-ERR [IN-USE] x', 'locked'],
    ['-ERR [LOGIN-DELAY] x', 'locked'],
    ['-ERR [SYS/TEMP] the maildrop is locked', 'unavailable'],
    ['-ERR [SYS/PERM] x', 'permanent'],
    ['-ERR [AUTH] mailbox in use, not', 'credentials'],
    ['-ERR maildrop already locked', 'locked'],
    ['-ERR Unable to lock maildrop', 'locked'],
    ['-ERR Mailbox in use by another client', 'locked'],
    ['-ERR server BUSY', 'locked'],
    ['-ERR blocked for too many clocks', 'credentials'],
    ['-ERR your account is locked', 'credentials'],
    ['-ERR [XWEIRD] wrong password', 'credentials'],
    ['-ERR', 'credentials'],
  ] as const)('%j means %s', (line, meaning) => {
    expect(readRefusal(parseStatusLine(Buffer.from(line))!)).toBe(meaning);
  });
});

describe('a line of an answer', () => {
  it.each([
    ['2 320', { count: 2, bytes: 320 }],
    ['  0   0 (no mail)', { count: 0, bytes: 0 }],
    ['2 99999999999', { count: 2, bytes: 99_999_999_999 }],
    ['two 320', null],
    ['2', null],
    ['-1 5', null],
  ])('STAT %j', (text, stat) => {
    expect(parseStat(text)).toEqual(stat);
  });

  it.each([
    ['1 120', { number: 1, bytes: 120 }],
    ['  7 \t 99999999999  and more', { number: 7, bytes: 99_999_999_999 }],
    ['0003 5', { number: 3, bytes: 5 }],
    ['1 -1', { number: 1, bytes: null }],
    ['1', { number: 1, bytes: null }],
    [`1 ${'9'.repeat(400)}`, { number: 1, bytes: null }],
    ['1x 5', null],
    ['-1 5', null],
    ['', null],
    ['99999999999 5', null],
  ])('LIST %j: a size that is none hides no message', (line, entry) => {
    expect(parseListLine(line)).toEqual(entry);
  });

  it.each([
    ['1 abc', { number: 1, uidl: 'abc' }],
    [' 2 \t a b  c \t', { number: 2, uidl: 'a b  c' }],
    ['3', { number: 3, uidl: null }],
    ['4  ', { number: 4, uidl: null }],
    ['5 \xc3\xa0', { number: 5, uidl: '\xc3\xa0' }],
    [`6 ${'x'.repeat(1000)}`, { number: 6, uidl: 'x'.repeat(1000) }],
    ['7 a\0b', { number: 7, uidl: 'a\0b' }],
    ['1abc', null],
    ['abc 1', null],
    ['', null],
  ])('UIDL %j', (line, entry) => {
    expect(parseUidlLine(line)).toEqual(entry);
  });

  it('of UIDL made of spaces costs no more than its length', () => {
    const line = `1 x${' '.repeat(1_000_000)}y`;
    // Quadratic matching would take minutes.
    expect(parseUidlLine(line)?.uidl?.length).toBe(1_000_002);
  });

  it('of CAPA is a name in any case and its arguments', () => {
    const { entries } = parseCapabilities(['top', 'SASL PLAIN  SCRAM-SHA-256', '', '  EXPIRE 60 USER ']);
    expect([...entries]).toEqual([
      ['TOP', []],
      ['SASL', ['PLAIN', 'SCRAM-SHA-256']],
      ['EXPIRE', ['60', 'USER']],
    ]);
  });
});

describe('quoted server text', () => {
  it.each([
    ['a secret', 'no such user for hunter2', '"no such user for [redacted]"'],
    ['a quote within a secret', 'PASS pass"word\\', '"PASS [redacted]"'],
    ['control characters', 'a\x1b[31m\r\n\0\x7f\x9b', String.raw`"a\u001b[31m\r\n\u0000\u{7f}\u{9b}"`],
    ['bidi characters', 'a\u202eb\u2066c\u061cd\u200fe', String.raw`"a\u{202e}b\u{2066}c\u{61c}d\u{200f}e"`],
    [
      'invisible characters',
      '\u200b\u00ad\ufeff\u{e0041}\u2028',
      String.raw`"\u{200b}\u{ad}\u{feff}\u{e0041}\u{2028}"`,
    ],
    ['quotes and backslashes', 'say "no" \\', String.raw`"say \"no\" \\"`],
    ['half a surrogate pair', 'a\ud800b', '"a\ufffdb"'],
    ['other letters, which stay', 'grüß 你好', '"grüß 你好"'],
  ])('takes out or escapes %s', (_, text, quoted) => {
    expect(quoteServerText(text, ['', 'hunter2', 'pass"word\\'])).toBe(quoted);
  });

  it('is bounded, and cut only after the secrets are out', () => {
    const text = `${'x'.repeat(serverTextCharsMax - 3)}hunter2${'y'.repeat(4000)}`;
    const quoted = quoteServerText(text, ['hunter2']);
    expect(quoted).toBe(`"${'x'.repeat(serverTextCharsMax - 3)}[re..."`);
    expect(quoteServerText('\u202e'.repeat(4000), []).length).toBeLessThan(serverTextCharsMax * 10);
  });
});

describe('a greeting of another protocol', () => {
  it.each([
    ['220 smtp.example.com ESMTP ready', 'SMTP'],
    ['554 mail.example.com refuses you', 'SMTP'],
    ['220 ready', 'SMTP or FTP'],
    ['* OK [CAPABILITY IMAP4rev1] ready', 'IMAP'],
    ['* BYE too many', 'IMAP'],
    ['HTTP/1.1 400 Bad Request', 'HTTP'],
    ['SSH-2.0-OpenSSH_9.2', 'SSH'],
    ['+ POP2 example.com', 'POP2 (RFC 937)'],
    ['\x15\x03\x03\x00\x02\x02', 'TLS'],
  ])('%j is %s, with advice', (line, name) => {
    const found = recogniseProtocol(Buffer.from(line, 'latin1'));
    expect(found?.name).toBe(name);
    expect(found?.advice).not.toBe('');
  });

  it.each(['', 'hello', '+OK ready', '+OKAY', '\0\0\0'])('%j is none that is known', (line) => {
    expect(recogniseProtocol(Buffer.from(line))).toBeNull();
  });
});
