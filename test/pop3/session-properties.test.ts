/** The session layer is pure, so that anything a server could say can be said to it: whatever, and however it is split. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BodySink } from '../../src/pop3/body.ts';
import { Pop3Error } from '../../src/pop3/index.ts';
import { statusLineBytesMax } from '../../src/pop3/limits.ts';
import { Secrets } from '../../src/pop3/secrets.ts';
import { Session } from '../../src/pop3/session.ts';
import { multiline } from '../../src/sandbox/transaction.ts';

type Kind = 'single' | 'body' | 'question';

/** What each command heard, neighbouring octets of a body joined. */
function converse(kinds: readonly Kind[], chunks: readonly Buffer[]) {
  const events: string[] = [];
  let heldBytes = 0;
  const session = new Session({ place: 'mail.example:110', secrets: new Secrets([], []) });
  for (const [index, kind] of kinds.entries()) {
    const say = (what: string): void => void events.push(`${index} ${what}`);
    const sink: BodySink = {
      data(chunk) {
        heldBytes += chunk.length;
        const last = events.at(-1);
        if (last?.startsWith(`${index} data:`)) events[events.length - 1] = `${last}${chunk.toString('latin1')}`;
        else say(`data:${chunk.toString('latin1')}`);
      },
      end: () => say('end'),
      fail: () => say('body failed'),
    };
    const fail = (): void => say('failed');
    session.expect(
      kind === 'question'
        ? { phase: 'login', timeoutMs: 1, takeLine: (line) => say(`line:${line.toString('latin1')}`), fail }
        : {
            phase: 'list',
            timeoutMs: 1,
            answer(reply) {
              say(`${reply.ok ? '+OK' : '-ERR'} ${reply.responseCode ?? ''} ${reply.text}`);
              return kind === 'body' && reply.ok ? sink : null;
            },
            fail,
          },
    );
  }
  let error: unknown = null;
  try {
    for (const chunk of chunks) session.push(chunk);
  } catch (thrown) {
    error = thrown;
    session.fail(new Error('over'));
  }
  return { events, error, heldBytes, session };
}

function split(whole: Buffer, points: readonly number[]): Buffer[] {
  const edges = [0, ...points.map((point) => point % (whole.length + 1)).toSorted((a, b) => a - b), whole.length];
  return edges.slice(1).map((edge, index) => whole.subarray(edges[index], edge));
}

const bodyBytes = fc
  .array(fc.constantFrom('.', '\r\n', '\n', '\r', 'text', '\0', '\xff', '+OK', '.\r\n'), { maxLength: 12 })
  .map((parts) => Buffer.from(parts.join(''), 'latin1'));

interface Said {
  kind: Kind;
  sent: Buffer;
}

/** An answer as a correct server gives it, some with blank lines or stray octets in front of them. */
const exchange = fc.oneof(
  fc
    .constantFrom('+OK', '+OK 2 320', '-ERR no', '-ERR [IN-USE] locked', '\r\n\r\n+OK late', '\0 +OK odd')
    .map((line) => ({
      kind: 'single' as Kind,
      sent: Buffer.from(`${line}\r\n`),
    })),
  bodyBytes.map((body) => ({ kind: 'body' as Kind, sent: multiline('follows', body) })),
  fc.constant<Said>({ kind: 'body', sent: Buffer.from('-ERR no such message\r\n') }),
  fc.constant<Said>({ kind: 'body', sent: Buffer.from('+OK\n.stuffed\n..\n.\n') }),
  fc.constantFrom('+', '+ PDEyMz4=', '+OK', '-ERR [AUTH] no').map((line) => ({
    kind: 'question' as Kind,
    sent: Buffer.from(`${line}\r\n`),
  })),
);

describe('a session', () => {
  it('tells the same of any transcript, however it is split', () => {
    fc.assert(
      fc.property(
        fc.array(exchange, { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        (said, at) => {
          const kinds = said.map(({ kind }) => kind);
          const whole = Buffer.concat(said.map(({ sent }) => sent));
          const expected = converse(kinds, [whole]);
          expect(expected.error).toBeNull();
          expect(expected.session.due).toBeUndefined();
          expect(converse(kinds, split(whole, at)).events).toEqual(expected.events);
          const octets = Array.from(whole, (byte) => Buffer.from([byte]));
          expect(converse(kinds, octets).events).toEqual(expected.events);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('takes any octets without an error of another kind, and hands on no more than came', () => {
    const kinds = fc.array(fc.constantFrom<Kind>('single', 'body', 'question'), { maxLength: 4 });
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.constantFrom('+OK', '-ERR', '\r\n', '\n', '.', '\r\n.\r\n', '+', ' ', '\r').map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(kinds, fc.array(noise, { maxLength: 20 }), (waiting, chunks) => {
        const { error, heldBytes, events } = converse(waiting, chunks);
        if (error !== null) expect(error).toBeInstanceOf(Pop3Error);
        // A bare LF may come out as CRLF: twice as much at most.
        expect(heldBytes).toBeLessThanOrEqual(2 * chunks.reduce((sum, { length }) => sum + length, 0));
        // Nobody is told twice how it ended, and after an error nobody waits.
        for (const index of waiting.keys()) {
          const ends = events.filter((event) => new RegExp(`^${index} (end|failed|body failed|line)`).test(event));
          expect(ends.length).toBeLessThanOrEqual(1);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('holds no more of a line that never ends than its bound', () => {
    const piece = Buffer.alloc(1000, 'x');
    const sent = Array.from({ length: 10 }, () => piece);
    const { error, events } = converse(['single', 'single'], [Buffer.from('+OK '), ...sent]);
    expect(error).toMatchObject({ code: 'upstream_protocol_error', phase: 'list' });
    expect(String(error)).toContain(`more than ${statusLineBytesMax} octets`);
    expect(events).toEqual(['0 failed', '1 failed']);
  });
});
