/** Servers whose STAT, LIST and UIDL lie, contradict each other, or change within a session. */
import { describe, expect, it } from 'vitest';
import { listLineBytesMax, maildropMessagesMax } from '../../src/pop3/limits.ts';
import { Pop3CommandError, Pop3ProtocolError, type Pop3Client } from '../../src/pop3/index.ts';
import { multiline } from '../../src/sandbox/transaction.ts';
import type { FakePop3Options } from '../support/fake-pop3.ts';
import { failureOf, logIn, readAll, retrieveAll, startFake } from './fake-session.ts';

const MAILS = Array.from({ length: 12 }, (_, index) => Buffer.from(`Subject: ${index}\r\n\r\n.text\r\n`));

/** A multi-line answer of these lines, one octet for each character. */
function listing(...lines: string[]): Buffer {
  return Buffer.from(['+OK', ...lines, '.', ''].join('\r\n'), 'latin1');
}

async function logInTo(options: FakePop3Options): Promise<Pop3Client> {
  return logIn(await startFake(options), { skipCapa: false });
}

async function uidlsOf(lines: readonly string[]) {
  const client = await logInTo({ on: { UIDL: () => listing(...lines) } });
  const streamed: unknown[] = [];
  for await (const { number, uidl } of client.streamUidl()) streamed.push([number, uidl]);
  return { whole: [...((await client.uidl()) ?? [])], streamed };
}

describe('sizes', () => {
  it('may change within a session: each LIST counts for itself, and RETR gives whatever comes', async () => {
    // mailutils writes X-UIDL into every mail once it was asked for unique-ids.
    let isAsked = false;
    const grown = Buffer.concat([Buffer.from('X-UIDL: abc\r\n'), MAILS[0]!]);
    const client = await logInTo({
      on: {
        UIDL: () => ((isAsked = true), listing('1 abc')),
        LIST: () => listing(`1 ${isAsked ? grown.length : MAILS[0]!.length}`),
        RETR: () => multiline('', grown),
      },
    });
    expect([...(await client.list())]).toEqual([[1, MAILS[0]!.length]]);
    expect([...((await client.uidl()) ?? [])]).toEqual([[1, 'abc']]);
    expect([...(await client.list())]).toEqual([[1, grown.length]]);
    expect((await retrieveAll(client, 1)).equals(grown)).toBe(true);
  });

  it.each([0, 1, 10 ** 12, Number.MAX_SAFE_INTEGER, null])(
    'that LIST makes out to be %s neither cut, nor stop, nor drop a message that is pipelined',
    async (lie) => {
      const client = await logInTo({
        mails: MAILS,
        on: { LIST: () => listing(...MAILS.map((_, n) => `${n + 1} ${lie}`)) },
      });
      const messages = [...(await client.list())].map(([number, bytes]) => ({ number, bytes }));
      expect(client.capabilities.pipelining).toBe(true);
      expect(messages).toEqual(MAILS.map((_, index) => ({ number: index + 1, bytes: lie })));
      const seen: string[] = [];
      for await (const { body } of client.retrieveAll(messages)) seen.push(String(await readAll(body!)));
      expect(seen).toEqual(MAILS.map(String));
      expect(await client.quit()).toBe(true);
    },
  );

  it('that lie differently for each message are no matter either', async () => {
    const client = await logInTo({ mails: MAILS });
    const messages = MAILS.map((_, index) => ({ number: index + 1, bytes: index % 2 === 0 ? 10 ** 12 : 1 }));
    const seen: string[] = [];
    for await (const { body } of client.retrieveAll(messages)) seen.push(String(await readAll(body!)));
    expect(seen).toEqual(MAILS.map(String));
  });

  it('that are negative or none are unknown, ones over 2^32 are kept, and none hides its message', async () => {
    const lines = ['1 -1', `2 ${2 ** 32 + 1}`, '3 99999999999', `4 ${'9'.repeat(30)}`, '5 -99999999999', '6', '7 1e3'];
    const client = await logInTo({ on: { LIST: () => listing(...lines) } });
    expect([...(await client.list())]).toEqual([
      [1, null],
      [2, 2 ** 32 + 1],
      [3, 99_999_999_999],
      [4, null],
      [5, null],
      [6, null],
      [7, 1],
    ]);
  });

  it('of the whole maildrop may be over 2^32, and negative ones end the session', async () => {
    const large = await logInTo({ on: { STAT: () => `+OK 2 ${2 ** 33}` } });
    expect(await large.stat()).toEqual({ count: 2, bytes: 2 ** 33 });
    const negative = await logInTo({ on: { STAT: () => '+OK 2 -2147483648' } });
    const failure = await failureOf(negative.stat());
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'list' });
  });
});

describe('UIDL', () => {
  it('missing from CAPA and working is used', async () => {
    const client = await logInTo({ mails: MAILS, capabilities: ['TOP', 'USER'] });
    expect(client.capabilities.has('UIDL')).toBe(false);
    expect((await client.uidl())?.get(12)).toBe('uid-12');
  });

  it('listed by CAPA and refused is null, an error where it is streamed, and the session goes on', async () => {
    const client = await logInTo({ mails: MAILS, on: { UIDL: () => '-ERR not implemented' } });
    expect(client.capabilities.has('UIDL')).toBe(true);
    expect(await client.uidl()).toBeNull();
    const failure = await failureOf(client.streamUidl().next());
    expect(failure).toBeInstanceOf(Pop3CommandError);
    expect(failure).toMatchObject({ code: 'upstream_command_failed', phase: 'list' });
    expect((await client.stat()).count).toBe(MAILS.length);
  });

  it('is not null where the server went away instead', async () => {
    const client = await logInTo({ on: { UIDL: () => 'close' } });
    expect(await failureOf(client.uidl())).toMatchObject({ code: 'upstream_closed', phase: 'list' });
  });
});

describe('unique-ids', () => {
  it.each<[string, string[], [number, string | null][]]>([
    [
      'non-ASCII ones, octet for octet',
      ['1 \xc3\xa0', '2 \xa0\xff\x80', '3 \xe9'],
      [
        [1, '\xc3\xa0'],
        [2, '\xa0\xff\x80'],
        [3, '\xe9'],
      ],
    ],
    [
      'duplicates',
      ['1 same', '2 same', '3 other'],
      [
        [1, 'same'],
        [2, 'same'],
        [3, 'other'],
      ],
    ],
    [
      'blank and absent ones',
      ['1', '2 ', '3 \t ', '4 a'],
      [
        [1, null],
        [2, null],
        [3, null],
        [4, 'a'],
      ],
    ],
    [
      'several spaces around and within',
      ['  1   a ', '2\ta  b', '3  c'],
      [
        [1, 'a'],
        [2, 'a  b'],
        [3, 'c'],
      ],
    ],
    ['71 octets', [`1 ${'x'.repeat(71)}`], [[1, 'x'.repeat(71)]]],
    [
      'as many octets as a line may have',
      [`1 ${'x'.repeat(listLineBytesMax - 2)}`],
      [[1, 'x'.repeat(listLineBytesMax - 2)]],
    ],
    [
      'those between lines that are none',
      ['', 'rubbish', '1 a', '-2 b', '3b', '4 c'],
      [
        [1, 'a'],
        [4, 'c'],
      ],
    ],
  ])('of a server with %s are kept', async (_, lines, expected) => {
    const { whole, streamed } = await uidlsOf(lines);
    expect(whole).toEqual(expected);
    expect(streamed).toEqual(expected);
  });

  it('that name a message twice are streamed both, and the last one counts', async () => {
    const { whole, streamed } = await uidlsOf(['1 a', '1 b']);
    expect(streamed).toEqual([
      [1, 'a'],
      [1, 'b'],
    ]);
    expect(whole).toEqual([[1, 'b']]);
  });

  it('missing for a message leave it out, and those of others stay where they are', async () => {
    const client = await logInTo({ mails: MAILS, on: { UIDL: () => listing('1 a', '3 c') } });
    expect((await client.list()).size).toBe(MAILS.length);
    expect([...((await client.uidl()) ?? [])]).toEqual([
      [1, 'a'],
      [3, 'c'],
    ]);
  });

  it.each([(client: Pop3Client) => client.uidl(), (client: Pop3Client) => client.streamUidl().next()])(
    'longer than a line may be end the session with a typed error',
    async (ask) => {
      const fake = await startFake({ on: { UIDL: () => listing(`1 ${'x'.repeat(listLineBytesMax - 1)}`) } });
      const failure = await failureOf(ask(await logIn(fake)));
      expect(failure).toBeInstanceOf(Pop3ProtocolError);
      expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'list' });
      await fake.idle();
    },
  );

  it('asked for one by one may be blank or refused', async () => {
    const client = await logInTo({
      on: {
        'UIDL 1': () => '+OK  1   a  b ',
        'UIDL 2': () => '+OK 2',
        'UIDL 3': () => '-ERR no such message',
        'UIDL 4': () => '+OK 4 d',
      },
    });
    const seen: unknown[] = [];
    for await (const { number, uidl } of client.uidlEach([2, 3, 4])) seen.push([number, uidl]);
    expect(seen).toEqual([
      [2, null],
      [4, 'd'],
    ]);
    expect(await client.uidlOne(1)).toEqual({ number: 1, uidl: 'a  b' });
  });
});

describe('a maildrop', () => {
  it('of which STAT, LIST and UIDL say each something else is told as each says', async () => {
    const on = { STAT: () => '+OK 7 1', LIST: () => listing('1 5', '2 5'), UIDL: () => listing('1 a', '2 b', '3 c') };
    const client = await logInTo({ mails: MAILS, on });
    expect(await client.stat()).toEqual({ count: 7, bytes: 1 });
    expect([...(await client.list()).keys()]).toEqual([1, 2]);
    expect([...((await client.uidl()) ?? []).keys()]).toEqual([1, 2, 3]);
    expect(String(await retrieveAll(client, 12))).toBe(String(MAILS[11]));
  });

  it.each([['PIPELINING'], ['TOP']])(
    'with messages that are listed and refused gives the others (%s)',
    async (name) => {
      const refuse = (): string => '-ERR message vanished';
      const on = { 'RETR 1': refuse, 'RETR 5': refuse, 'RETR 6': refuse, 'RETR 12': refuse };
      const client = await logInTo({ mails: MAILS, capabilities: ['USER', 'UIDL', name], on });
      const messages = [...(await client.list())].map(([number, bytes]) => ({ number, bytes }));
      const refused: number[] = [];
      const whole: number[] = [];
      for await (const { message, body, error } of client.retrieveAll(messages)) {
        if (error) {
          expect(error).toMatchObject({ code: 'upstream_command_failed', phase: 'retrieve' });
          refused.push(message.number);
        } else {
          expect((await readAll(body)).equals(MAILS[message.number - 1]!)).toBe(true);
          whole.push(message.number);
        }
      }
      expect(refused).toEqual([1, 5, 6, 12]);
      expect(whole).toEqual([2, 3, 4, 7, 8, 9, 10, 11]);
      expect(await client.quit()).toBe(true);
    },
  );

  it('with more lines than messages there may be ends the session, however they add up', async () => {
    const fake = await startFake({
      on: { LIST: () => Buffer.from(`+OK\r\n${'1 1\r\n'.repeat(maildropMessagesMax + 1)}`) },
    });
    const failure = await failureOf((await logIn(fake)).list());
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'list' });
    expect(failure.message).toContain(`more than ${maildropMessagesMax} lines`);
    await fake.idle();
  });
});
