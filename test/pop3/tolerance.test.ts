/** What servers write around and within their answers that no RFC allows, and what becomes of it. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { blankLinesMax, defaultTimeouts } from '../../src/pop3/limits.ts';
import { Pop3CommandError, Pop3ConnectionError, Pop3ProtocolError, type Pop3Client } from '../../src/pop3/index.ts';
import { multiline } from '../../src/sandbox/transaction.ts';
import type { FakePop3Options } from '../support/fake-pop3.ts';
import { connect, failureOf, logIn, readAll, retrieveAll, startFake } from './fake-session.ts';

const MAIL = 'Subject: x\r\n\r\n.dot\r\ntext\r\n';

/** One octet for each character. */
function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** A server that writes something in front of every answer, whose own line ends are as given. */
function writingBefore(prefix: string, eol = '\r\n'): FakePop3Options {
  const say = (...lines: string[]) => bytes(prefix + lines.map((line) => `${line}${eol}`).join(''));
  return {
    greeting: say('+OK ready'),
    on: {
      CAPA: () => say('+OK', 'UIDL', 'TOP', '.'),
      USER: () => say('+OK'),
      PASS: () => say('+OK'),
      STAT: () => say('+OK 1 27'),
      LIST: () => say('+OK', '1 27', '.'),
      UIDL: () => say('+OK', '1 abc', '.'),
      RETR: () => say('+OK', 'Subject: x', '', '..dot', 'text', '.'),
      DELE: () => say('-ERR no'),
      QUIT: () => ({ bytes: say('+OK'), after: 'close' }),
    },
  };
}

async function expectWholeSession(options: FakePop3Options): Promise<void> {
  const client = await logIn(await startFake(options), { skipCapa: false });
  expect([...client.capabilities.entries.keys()]).toEqual(['UIDL', 'TOP']);
  expect(await client.stat()).toEqual({ count: 1, bytes: 27 });
  expect([...(await client.list())]).toEqual([[1, 27]]);
  expect([...((await client.uidl()) ?? [])]).toEqual([[1, 'abc']]);
  expect(String(await retrieveAll(client, 1))).toBe(MAIL);
  expect(await failureOf(client.delete(1))).toMatchObject({ code: 'upstream_command_failed' });
  expect(await client.quit()).toBe(true);
}

describe('before every answer, the greeting and those with a body included', () => {
  it.each([
    ['a blank line', '\r\n'],
    ['lines of blanks and NULs', ' \r\n\t\r\n\0\0\r\n'],
    ['a bare LF', '\n'],
    ['as many blank lines as there may be', '\r\n'.repeat(blankLinesMax)],
    ['blanks', ' \t  '],
    ['NULs', '\0\0'],
    ['a byte order mark', '\xef\xbb\xbf'],
    ['a lone CR', '\r'],
    ['bytes over 0x7F', '\xff\xfe\x80'],
    ['a blank line and a NUL', '\r\n\0'],
  ])('%s may stand', async (_, prefix) => {
    await expectWholeSession(writingBefore(prefix));
  });

  it('a blank line may stand whose own line end says nothing of the answer behind it', async () => {
    await expectWholeSession(writingBefore('\r\n', '\n'));
    const body = 'a\n.\n+OK forged\n.\r\nb\r\n';
    const client = await logIn(await startFake({ on: { RETR: () => bytes(`\n+OK\r\n${body}.\r\n`) } }));
    expect(String(await retrieveAll(client, 1))).toBe(body);
  });
});

describe('more blank lines than there may be', () => {
  const flood = bytes('\r\n'.repeat(blankLinesMax + 1));

  it.each([
    ['greeting', { greeting: flood }, undefined],
    ['list', { on: { STAT: () => flood } }, (client: Pop3Client) => client.stat()],
    ['list', { on: { LIST: () => flood } }, (client: Pop3Client) => client.list()],
    ['retrieve', { on: { RETR: () => flood } }, (client: Pop3Client) => client.retrieve(1)],
  ] as const)('in the phase %s end the session', async (phase, options, work) => {
    const fake = await startFake(options);
    const failure = await failureOf(work ? work(await logIn(fake)) : connect(fake));
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase });
    expect(failure.message).toContain(`more than ${blankLinesMax} blank lines`);
    await fake.idle();
  });

  it('are counted for each answer anew', async () => {
    const reply = bytes(`${'\r\n'.repeat(blankLinesMax)}+OK\r\n`);
    const client = await logIn(await startFake({ on: { NOOP: () => reply } }));
    for (let times = 0; times < 3; times += 1) await client.noop();
  });
});

/** How a body may seem to end, and does not. */
const ENDLESS = [
  ['a dot line right behind text without CRLF', 'text.\r\n', 'text.\r\n'],
  ['a dot line behind a bare LF', 'text\n.\r\n', 'text\n.\r\n'],
  ['a dot line behind a bare CR', 'text\r.\r\n', 'text\r.\r\n'],
  ['a dot and a bare LF', 'text\r\n.\n', 'text\r\n.\n'],
  ['a dot and a CR without LF', 'text\r\n.\r', 'text\r\n'],
  ['a dot alone', 'text\r\n.', 'text\r\n'],
] as const;

describe('a message that ends in', () => {
  const timeouts = {
    ...Object.fromEntries(Object.keys(defaultTimeouts).map((name) => [name, 1_000_000_000])),
    idleMs: 60_000,
  };

  /** What came of the body, and what ended it, once as much has come as will, and the deadline is over. */
  async function readToDeadline(body: AsyncIterable<Buffer>, length: number): Promise<{ text: string; error: Error }> {
    let text = '';
    const arrived = Promise.withResolvers<void>();
    const failure = failureOf(
      (async () => {
        for await (const chunk of body) {
          text += chunk.toString('latin1');
          if (text.length >= length) arrived.resolve();
        }
      })(),
    );
    await arrived.promise;
    vi.advanceTimersByTime(59_000);
    const isOver = await Promise.race([failure.then(() => true), nextTurn(false)]);
    expect(isOver).toBe(false);
    vi.advanceTimersByTime(1000);
    return { error: await failure, text };
  }

  it.each(ENDLESS)('%s and silence is not whole: it fails at the idle deadline', async (_, sent, received) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const reply = bytes(`+OK\r\n${sent}`);
    const fake = await startFake({ on: { RETR: () => reply, TOP: () => reply } });
    for (const ask of [(client: Pop3Client) => client.retrieve(1), (client: Pop3Client) => client.top(1, 0)]) {
      const client = await logIn(fake, {}, { timeouts });
      const { text, error } = await readToDeadline(await ask(client), received.length);
      expect(error).toBeInstanceOf(Pop3ConnectionError);
      expect(error).toMatchObject({ code: 'upstream_timeout', phase: 'retrieve' });
      expect(text).toBe(received);
      expect(client.state).toBe('closed');
      await fake.idle();
    }
  });

  it.each(ENDLESS)('%s and the end of the connection is not whole either', async (_, sent) => {
    const fake = await startFake({ on: { RETR: () => ({ bytes: bytes(`+OK\r\n${sent}`), after: 'close' }) } });
    const failure = await failureOf(retrieveAll(await logIn(fake), 1));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'retrieve' });
    await fake.idle();
  });

  it('a dot line that only a server with bare LF may end so is whole where the status line ended so too', async () => {
    const client = await logIn(await startFake({ on: { RETR: () => bytes('+OK\ntext\n.\n') } }));
    expect(String(await retrieveAll(client, 1))).toBe('text\r\n');
  });
});

describe('a list whose last line', () => {
  it.each(['1 120.\r\n', '1 120\n.\r\n', '1 120\r\n.\r'])('is %j is not taken as whole', async (sent) => {
    const reply = { bytes: bytes(`+OK\r\n${sent}`), after: 'close' } as const;
    const work = [(client: Pop3Client) => client.list(), (client: Pop3Client) => client.uidl()];
    for (const ask of work) {
      const client = await logIn(await startFake({ on: { LIST: () => reply, UIDL: () => reply } }));
      expect(await failureOf(ask(client))).toMatchObject({ code: 'upstream_closed', phase: 'list' });
    }
  });
});

describe('control characters in a refusal', () => {
  const said = '\x1b[2Jno\x07 \x00\x7f \x9b31m\u202e';
  const refuse = (): Buffer => Buffer.from(`-ERR ${said}\r\n`);

  it.each<[string, FakePop3Options, (fake: Awaited<ReturnType<typeof startFake>>) => Promise<unknown>]>([
    ['the greeting', { greeting: refuse() }, (fake) => connect(fake)],
    ['the login', { on: { PASS: refuse } }, (fake) => logIn(fake)],
    ['a command', { on: { DELE: refuse } }, async (fake) => (await logIn(fake)).delete(1)],
    ['a command with a body', { on: { RETR: refuse } }, async (fake) => (await logIn(fake)).retrieve(1)],
  ])('of %s are escaped in the error', async (_, options, work) => {
    const failure = await failureOf(work(await startFake(options)));
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure.message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(failure.message).toContain(String.raw`-ERR \u001b[2Jno\u0007 \u0000\u{7f} \u{9b}31m\u{202e}`);
  });
});

describe('NUL bytes', () => {
  it('in a mail, a status line and a list stay or are passed over, and hide no message', async () => {
    const raw = Buffer.from('\0\r\n\0.\0\r\n.\0\r\n\0\0\r\n');
    const client = await logIn(
      await startFake({
        mails: [raw],
        on: {
          STAT: () => bytes('+OK 1 17\0\r\n'),
          NOOP: () => bytes('+OK \0\0\r\n'),
          LIST: () => bytes('+OK\0\r\n1 17\0\r\n2 \0\r\n.\r\n'),
          UIDL: () => bytes('+OK\r\n1 a\0b\r\n2 \0\r\n.\r\n'),
          RETR: () => Buffer.concat([bytes('+OK \0\r\n'), multiline('', raw).subarray('+OK \r\n'.length)]),
        },
      }),
    );
    expect(await client.stat()).toEqual({ count: 1, bytes: 17 });
    await client.noop();
    expect([...(await client.list())]).toEqual([
      [1, 17],
      [2, null],
    ]);
    expect([...((await client.uidl()) ?? [])]).toEqual([
      [1, 'a\0b'],
      [2, '\0'],
    ]);
    expect((await retrieveAll(client, 1)).equals(raw)).toBe(true);
  });
});

describe('a line of a megabyte', () => {
  const line = Buffer.alloc(1024 * 1024, 'x.\0\xff', 'latin1');

  it('inside a message is passed on byte for byte', async () => {
    const raw = Buffer.concat([bytes('.'), line, bytes('\r\n'), line, bytes('\n'), line, bytes('\r\n')]);
    const client = await logIn(await startFake({ mails: [raw, 'next\r\n'] }));
    const seen: number[] = [];
    for await (const { body } of client.retrieveAll([1, 2].map((number) => ({ number, bytes: null })))) {
      const mail = await readAll(body!);
      seen.push(mail.length);
      if (seen.length === 1) expect(mail.equals(raw)).toBe(true);
    }
    expect(seen).toEqual([raw.length, 6]);
  });

  it.each(['+OK ', '-ERR ', ''])('begun with %j instead of an answer ends the session', async (start) => {
    const fake = await startFake({ on: { RETR: () => Buffer.concat([bytes(start), line, bytes('\r\n.\r\n')]) } });
    const failure = await failureOf((await logIn(fake)).retrieve(1));
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'retrieve' });
    expect(failure.message.length).toBeLessThan(500);
    await fake.idle();
  });

  it.each(['CAPA', 'LIST', 'UIDL', 'LANG'])('in the answer to %s ends the session', async (command) => {
    const reply = Buffer.concat([bytes('+OK\r\n1 '), line, bytes('\r\n.\r\n')]);
    const fake = await startFake({ on: { [command]: () => reply } });
    const client = await logIn(fake);
    const work: Record<string, () => Promise<unknown>> = {
      CAPA: () => client.capa(),
      LIST: () => client.list(),
      UIDL: () => client.uidl(),
      LANG: () => client.languages(),
    };
    const failure = await failureOf(work[command]!());
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({ code: 'upstream_protocol_error' });
    expect(failure.message.length).toBeLessThan(500);
    await fake.idle();
  });
});
