import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusLineBytesMax } from '../../src/pop3/limits.ts';
import { ReplyParser } from '../../src/pop3/reply-parser.ts';
import { multiline } from '../../src/sandbox/transaction.ts';

/** `status:LINE`, `data:BYTES` (neighbours joined), `end`, `violation`; one character for each byte. */
type Events = readonly string[];

/** A body follows the status line `+OK body`. A violation ends it, as it ends the connection. */
function parse(chunks: readonly Buffer[]): Events {
  const events: string[] = [];
  const violation = new Error('violation');
  const parser = new ReplyParser({
    status(line) {
      events.push(`status:${line.toString('latin1')}`);
      return line.toString('latin1') === '+OK body';
    },
    data(chunk) {
      if (chunk.length === 0) throw new Error('An empty chunk was handed on.');
      const text = chunk.toString('latin1');
      if (events.at(-1)?.startsWith('data:') === true) events.push(`${events.pop()}${text}`);
      else events.push(`data:${text}`);
    },
    end: () => void events.push('end'),
    violation: () => violation,
  });
  try {
    for (const chunk of chunks) parser.push(chunk);
  } catch (error) {
    if (error !== violation) throw error;
    events.push('violation');
  }
  return events;
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function split(whole: Buffer, points: readonly number[]): Buffer[] {
  const edges = [0, ...[...points].sort((a, b) => a - b), whole.length];
  return edges.slice(1).map((edge, index) => whole.subarray(edges[index], edge));
}

const START = '+OK body\r\n';
const LF_START = '+OK body\n';
const body = (text: string): Events => ['status:+OK body', `data:${text}`, 'end'];

const TRANSCRIPTS: readonly (readonly [what: string, sent: string, events: Events])[] = [
  ['a status line', '+OK ready\r\n', ['status:+OK ready']],
  ['a status line that ends in bare LF', '-ERR no\n', ['status:-ERR no']],
  ['a status line with a CR within', '+OK a\rb\r\n', ['status:+OK a\rb']],
  ['an empty status line', '\r\n', ['status:']],
  ['a body', `${START}a\r\nb\r\n.\r\n`, body('a\r\nb\r\n')],
  ['an empty body', `${START}.\r\n`, ['status:+OK body', 'end']],
  ['a body of one blank line', `${START}\r\n.\r\n`, body('\r\n')],
  ['stuffed dots', `${START}..\r\n...\r\n..a\r\nb..\r\n.\r\n`, body('.\r\n..\r\n.a\r\nb..\r\n')],
  ['a leading dot that the server did not stuff', `${START}.a\r\n.\r\n`, body('.a\r\n')],
  ['a dot and a CR with other bytes behind', `${START}.\rx\r\n.\r\n`, body('.\rx\r\n')],
  ['a dot and two CRs', `${START}.\r\r\n.\r\n`, body('.\r\r\n')],
  ['a dot, a CR and a line end that ends the body', `${START}.\r.\r\n.\r\n`, body('.\r.\r\n')],
  ['CRs before a line end', `${START}a\r\r\r\n.\r\n`, body('a\r\r\r\n')],
  ['CR and dot without LF', `${START}a\r.\r\n.\r\n`, body('a\r.\r\n')],
  ['LF and CR the wrong way round', `${START}a\n\r\n.\r\n`, body('a\n\r\n')],
  ['NULs and bytes over 0x7F', `${START}\0\xff\x80\r\n\0.\r\n.\r\n`, body('\0\xff\x80\r\n\0.\r\n')],
  ['a mail that forges an end by bare LF', `${START}a\n.\n+OK forged\n.\r\n.\r\n`, body('a\n.\n+OK forged\n.\r\n')],
  ['a mail that forges an end by LF and CRLF', `${START}a\n.\r\n+OK forged\r\n.\r\n`, body('a\n.\r\n+OK forged\r\n')],
  ['a mail that forges an end by a dot, bare LF', `${START}.\n+OK forged\r\n.\r\n`, body('.\n+OK forged\r\n')],
  ['a last line without CRLF, which is no end', `${START}a.\r\n`, ['status:+OK body', 'data:a.\r\n']],
  ['an LF-only body', `${LF_START}a\n\nb\n.\n`, body('a\r\n\r\nb\r\n')],
  ['an empty LF-only body', `${LF_START}.\n`, ['status:+OK body', 'end']],
  ['stuffed and unstuffed dots, LF only', `${LF_START}..a\n.b\n..\n.\n`, body('.a\r\n.b\r\n.\r\n')],
  ['CRLF in an LF-only body', `${LF_START}a\r\nb\n.\r\n`, body('a\r\nb\r\n')],
  ['lone CRs in an LF-only body', `${LF_START}a\rb\r\r\n.\rc\n.\n`, body('a\rb\r\r\n.\rc\r\n')],
  [
    'LF mode for one response alone',
    `${LF_START}a\n.\n${START}a\n.\nb\r\n.\r\n`,
    [...body('a\r\n'), ...body('a\n.\nb\r\n')],
  ],
  [
    'several responses behind each other',
    `+OK one\r\n${START}.\r\n-ERR no\r\n${START}a\r\n.\r\n`,
    ['status:+OK one', 'status:+OK body', 'end', 'status:-ERR no', ...body('a\r\n')],
  ],
  [
    'a status line of the most octets there may be',
    `+${'x'.repeat(statusLineBytesMax - 2)}\r\n`,
    [`status:+${'x'.repeat(statusLineBytesMax - 2)}`],
  ],
  [
    'a status line with no end in sight',
    `+OK one\r\n${'x'.repeat(statusLineBytesMax + 1)}`,
    ['status:+OK one', 'violation'],
  ],
];

/** What matters to the parser, more often than chance would have it. */
const wireText = fc
  .array(
    fc.constantFrom(
      '\r',
      '\n',
      '.',
      '\r\n',
      '\r\n.',
      '\r\n.\r\n',
      '\n.\n',
      '+OK body',
      START,
      LF_START,
      'a',
      '\0',
      '\xff',
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(''));

describe('the reply parser', () => {
  it.each(TRANSCRIPTS)('reads %s, however it is split', (_, sent, events) => {
    const whole = bytes(sent);
    expect(parse([whole])).toEqual(events);
    expect(parse([...whole].map((byte) => Buffer.of(byte)))).toEqual(events);
    for (let at = 1; at < whole.length; at += 1) {
      expect(parse([whole.subarray(0, at), whole.subarray(at)]), `split at ${at}`).toEqual(events);
    }
  });

  it('gives the same events for any split of anything', () => {
    fc.assert(
      fc.property(wireText, fc.array(fc.nat(200), { maxLength: 10 }), (text, points) => {
        const whole = bytes(START + text);
        const chunks = split(
          whole,
          points.map((point) => point % (whole.length + 1)),
        );
        expect(parse(chunks)).toEqual(parse([whole]));
      }),
      { numRuns: 2000 },
    );
  });

  it('gives back any mail as it was before its dots were stuffed, and nothing in it forges an answer', () => {
    fc.assert(
      fc.property(wireText, fc.nat(200), (text, point) => {
        const sent = Buffer.concat([multiline('body', bytes(text)), bytes('+OK next\r\n')]);
        const mail = text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`;
        const events = [...(mail === '' ? ['status:+OK body', 'end'] : body(mail)), 'status:+OK next'];
        expect(parse(split(sent, [point % sent.length]))).toEqual(events);
      }),
      { numRuns: 2000 },
    );
  });

  it('takes any bytes without throwing anything but the violation', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 5 }), (chunks) => {
        parse(chunks.map((chunk) => Buffer.from(chunk)));
        parse([bytes(START), ...chunks.map((chunk) => Buffer.from(chunk))]);
      }),
    );
  });

  it('hands message bytes on without a copy', () => {
    const sent = bytes(`${START}${'x'.repeat(1000)}\r\n.\r\n`);
    const chunks: Buffer[] = [];
    const parser = new ReplyParser({
      status: () => true,
      data: (chunk) => void chunks.push(chunk),
      end: () => undefined,
      violation: (what) => new Error(what),
    });
    parser.push(sent);
    expect(chunks.map(({ buffer, byteOffset }) => [buffer === sent.buffer, byteOffset - sent.byteOffset])).toEqual([
      [true, START.length],
    ]);
  });

  it('knows whether anything came behind the last whole reply', () => {
    const parser = new ReplyParser({
      status: () => false,
      data: () => undefined,
      end: () => undefined,
      violation: (what) => new Error(what),
    });
    parser.push(bytes('+OK\r\n'));
    expect(parser.isBetweenReplies).toBe(true);
    parser.push(bytes('+'));
    expect(parser.isBetweenReplies).toBe(false);
  });
});
