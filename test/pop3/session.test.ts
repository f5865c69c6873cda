/** What the session layer keeps while an answer arrives. What it tells of one is in session-properties.test.ts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pop3ProtocolError } from '../../src/pop3/index.ts';
import { blankLinesMax, statusLineBytesMax } from '../../src/pop3/limits.ts';
import { Secrets } from '../../src/pop3/secrets.ts';
import { Session } from '../../src/pop3/session.ts';

/** A session that waits for one answer with a body, and what it has handed on so far. */
function open() {
  const given = { bytes: Buffer.alloc(0), isEnded: false };
  const session = new Session({ place: 'mail.example:110', secrets: new Secrets([], []) });
  const sink = {
    data: (chunk: Buffer): void => void (given.bytes = Buffer.concat([given.bytes, chunk])),
    end: (): void => void (given.isEnded = true),
    fail: (): void => undefined,
  };
  session.expect({ phase: 'retrieve', timeoutMs: 1, answer: () => sink, fail: () => undefined });
  return { session, given };
}

/** Octets of a body, dots and line ends more often than chance would have them. */
const text = fc
  .array(fc.oneof(fc.constantFrom('.', '\r', '\n', '\r\n', '.\r'), fc.constantFrom('text', '\0', '\xff')), {
    maxLength: 60,
  })
  .map((parts) => Buffer.from(parts.join(''), 'latin1'));

describe('a session', () => {
  it('keeps back no more of a body than a dot and a CR that may be its end, wherever a read breaks off', () => {
    fc.assert(
      fc.property(text, fc.boolean(), (bytes, isLfOnly) => {
        const { session, given } = open();
        session.push(Buffer.from(isLfOnly ? '+OK\n' : '+OK\r\n'));
        let stuffed = 0;
        for (let at = 0; at < bytes.length && !given.isEnded; at += 1) {
          const before = given.bytes.length;
          session.push(bytes.subarray(at, at + 1));
          // A dot at the start of a line is kept, and dropped where another dot shows that it was stuffed.
          const end = bytes.subarray(0, at + 1).toString('latin1');
          if ((isLfOnly ? /(?:^|\n)\.\.$/ : /(?:^|\r\n)\.\.$/).test(end)) stuffed += 1;
          const sent = isLfOnly ? end.replace(/\r?\n/g, '\r\n').length : end.length;
          if (!given.isEnded) expect(sent - stuffed - given.bytes.length).toBeLessThanOrEqual(2);
          expect(given.bytes.length - before).toBeLessThanOrEqual(3);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('takes no more than its bounds of what never becomes an answer, in pieces of any size', () => {
    const noise = fc.constantFrom('\r\n', '\n', ' \r\n', 'x', '+', '\0', '\r', '+OK ', 'x'.repeat(100));
    fc.assert(
      fc.property(noise, fc.integer({ min: 1, max: 3000 }), (unit, pieceBytes) => {
        const { session } = open();
        const piece = Buffer.from(unit.repeat(Math.ceil(pieceBytes / unit.length)));
        let taken = 0;
        let error: unknown = null;
        for (let pieces = 0; error === null && pieces < 10_000; pieces += 1) {
          try {
            session.push(piece);
            taken += piece.length;
          } catch (thrown) {
            error = thrown;
          }
        }
        expect(error).toBeInstanceOf(Pop3ProtocolError);
        expect(taken).toBeLessThanOrEqual(statusLineBytesMax + blankLinesMax * unit.length);
      }),
    );
  });

  it('needs the memory of no read that is over', () => {
    const { session, given } = open();
    for (const piece of ['+O', 'K fol', 'lows\r', '\nte', 'xt\r', '\n.', '\r', '\n']) {
      const bytes = Buffer.from(piece);
      session.push(bytes);
      bytes.fill('!'); // The memory of a read is given back once it was handed on.
    }
    expect(given).toMatchObject({ isEnded: true });
    expect(String(given.bytes)).toBe('text\r\n');
  });
});
