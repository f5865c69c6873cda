import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { recogniseProtocol } from '../../src/pop3/foreign-protocol.ts';

const nameOf = (bytes: string): string | undefined => recogniseProtocol(Buffer.from(bytes, 'latin1'))?.name;

describe('the first bytes of a server', () => {
  it.each([
    ['TLS', 'an alert', '\x15\x03\x01\x00\x02\x02\x0a'],
    ['TLS', 'a handshake record', '\x16\x03\x03\x00\x7a'],
    ['TLS', 'the first two bytes of an alert', '\x15\x03'],
    ['HTTP', 'a refusal', 'HTTP/1.1 400 Bad Request\r\nServer: x\r\n'],
    ['HTTP', 'a page without a head (HTTP/0.9)', '\r\n<!DOCTYPE html><html><head>'],
    ['HTTP', 'a page', '<HTML>'],
    ['HTTP/2', 'its settings', '\0\0\x12\x04\0\0\0\0\0\0\x03'],
    ['IMAP', 'a greeting without a line end', '* OK [CAPA'],
    ['IMAP', 'a farewell', '* BYE Too many connections'],
    ['ManageSieve', 'its capabilities', '"IMPLEMENTATION" "Dovecot Pigeonhole"\r\n'],
    ['SSH', 'a greeting without a line end', 'SSH-2.0-Open'],
    ['Telnet', 'a negotiation', '\xff\xfd\x18\xff\xfd\x20'],
    ['VNC', 'a greeting', 'RFB 003.008\n'],
    ['POP2 (RFC 937)', 'a greeting', '+ POP2 USC-ISIF.ARPA Server\r\n'],
    ['POP2 (RFC 937)', 'a greeting without a line end', '+ POP2'],
    ['NNTP', 'a greeting', '200 news.example.com InterNetNews NNRP server ready (posting ok)\r\n'],
    ['NNTP', 'a greeting of a reader', '201 reading only'],
    ['NNTP', 'a refusal', '502 news.example.com: access denied'],
    ['FTP', 'vsftpd', '220 (vsFTPd 3.0.3)\r\n'],
    ['FTP', 'ProFTPD, in several lines', '220-ProFTPD Server\r\n220 ready'],
    ['SMTP', 'a greeting', '220 ftp.example.com ESMTP Postfix\r\n'],
    ['SMTP', 'LMTP', '220 x LMTP ready'],
    ['SMTP', 'a refusal', '554 mail.example.com no'],
    ['SMTP or FTP', 'a code alone', '220'],
    ['SMTP or FTP', 'a refusal', '421 later\r\n'],
  ])('are known for %s: %s', (name, _, bytes) => {
    expect(nameOf(bytes)).toBe(name);
  });

  it.each([
    '',
    '+',
    '+O',
    '+OK',
    '+OK 220 SMTP',
    '-ERR',
    '-ERR * OK',
    '2',
    '22',
    '2200',
    '\r\n+OK',
    '\x15',
    '\x15\x04',
    '\xff',
  ])('are nobody’s that is known: %j', (bytes) => {
    expect(nameOf(bytes)).toBeUndefined();
  });

  it('are never taken for another protocol where POP3 begins like that', () => {
    fc.assert(
      fc.property(fc.constantFrom('+OK', '-ERR', '+ok'), fc.uint8Array({ maxLength: 400 }), (status, rest) => {
        expect(recogniseProtocol(Buffer.concat([Buffer.from(status), rest]))).toBeNull();
      }),
    );
  });
});
