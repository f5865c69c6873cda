/** What the client reads from a maildrop is the same with every kind of server, the scripted and the real ones. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pop3CommandError } from '../../src/pop3/index.ts';
import type { Pop3Client, RetrievedMessage, WireEntry } from '../../src/pop3/index.ts';
import { KINDS, MAILS } from '../support/pop3-kinds.ts';
import type { Pop3Server } from '../support/pop3-kinds.ts';
import { collect, inSession, logIn } from '../support/pop3-sessions.ts';
import { failureOf, readAll, retrieveAll } from './fake-session.ts';

const NUMBERS = MAILS.map((_, index) => index + 1);
const MESSAGES = MAILS.map(({ length }, index) => ({ number: index + 1, bytes: length }));
const ABSENT = MAILS.length + 1;
/** One that is not there between two that are. */
const WITH_A_GAP = [...MESSAGES.slice(0, 3), { number: ABSENT, bytes: 0 }, ...MESSAGES.slice(3)];

for (const { name, skip, start } of KINDS) {
  describe.skipIf(skip)(`the client with ${name}`, () => {
    let server: Pop3Server;

    beforeAll(async () => {
      server = await start(11);
    });

    afterAll(async () => {
      await server?.close();
    });

    async function session(work: (client: Pop3Client) => Promise<void>, chunks?: 'kept' | 'lent'): Promise<void> {
      await inSession(await server.maildrop(), work, chunks && { chunks });
    }

    it('lists the maildrop', () =>
      session(async (client) => {
        const sizes = await client.list();
        expect([...sizes]).toEqual(MESSAGES.map(({ number, bytes }) => [number, bytes]));
        const uidls = await client.uidl();
        expect([...(uidls?.keys() ?? [])]).toEqual(NUMBERS);
        expect(new Set(uidls?.values()).size).toBe(MAILS.length);
        expect([...(uidls?.values() ?? [])]).not.toContain(null);
        expect(await client.stat()).toEqual({ count: MAILS.length, bytes: Buffer.concat(MAILS).length });
      }));

    it('lists the same as a stream, for one message, and for each of many', () =>
      session(async (client) => {
        const sizes = [...(await client.list())].map(([number, bytes]) => ({ number, bytes }));
        const uidls = [...((await client.uidl()) ?? [])].map(([number, uidl]) => ({ number, uidl }));
        expect([sizes.length, uidls.length]).toEqual([MAILS.length, MAILS.length]);
        expect(await collect(client.streamList())).toEqual(sizes);
        expect(await collect(client.streamUidl())).toEqual(uidls);
        for (const number of [1, MAILS.length]) {
          expect(await client.listOne(number)).toEqual(sizes[number - 1]);
          expect(await client.uidlOne(number)).toEqual(uidls[number - 1]);
        }
        // What is refused is passed over, and the answers behind it are not put down to it.
        const wanted = WITH_A_GAP.map(({ number }) => number);
        expect(await collect(client.listEach(wanted))).toEqual(sizes);
        expect(await collect(client.uidlEach(wanted.toReversed()))).toEqual(uidls.toReversed());
      }));

    it('fetches every mail byte for byte', () =>
      session(async (client) => {
        for (const [index, mail] of MAILS.entries()) expectMail(index + 1, await retrieveAll(client, index + 1), mail);
      }));

    it('fetches all mails pipelined, byte for byte', async () => {
      const lines: string[] = [];
      const onWire = (entry: WireEntry): void => void ('line' in entry && lines.push(entry.line));
      const work = async (client: Pop3Client): Promise<void> => {
        const got = await readBodies(client.retrieveAll(MESSAGES));
        expect([...got.keys()]).toEqual(NUMBERS);
        for (const [number, bytes] of got) expectMail(number, bytes, MAILS[number - 1]);
      };
      await inSession(await server.maildrop(), work, { onWire });
      // All were on their way before the first was answered.
      const first = lines.indexOf('RETR 1');
      expect(lines.slice(first, first + MAILS.length)).toEqual(NUMBERS.map((number) => `RETR ${number}`));
    });

    it('fetches them byte for byte, too, where chunks are only lent', () =>
      session(async (client) => {
        const lent: Buffer[] = [];
        for await (const { message, body } of client.retrieveAll(MESSAGES)) {
          const copies: Buffer[] = [];
          for await (const chunk of body ?? []) {
            copies.push(Buffer.from(chunk));
            lent.push(chunk);
          }
          expectMail(message.number, Buffer.concat(copies), MAILS[message.number - 1]);
        }
        expect(lent.some(({ length }) => length === 0)).toBe(true);
      }, 'lent'));

    it.each([0, 2, 100_000])('gives the header and %d lines of the body by TOP, alone and pipelined', (lines) =>
      session(async (client) => {
        for (const [index, mail] of MAILS.entries()) {
          expectMail(index + 1, await readAll(await client.top(index + 1, lines)), topOf(mail, lines));
        }
        const got = await readBodies(client.topAll(MESSAGES, lines));
        expect([...got.keys()]).toEqual(NUMBERS);
        for (const [number, bytes] of got) expectMail(number, bytes, topOf(mailOf(number), lines));
      }),
    );

    it('is refused what is not there, and goes on', () =>
      session(async (client) => {
        for (const ask of [
          () => client.retrieve(ABSENT),
          () => client.top(ABSENT, 0),
          () => client.listOne(ABSENT),
          () => client.uidlOne(ABSENT),
          () => client.delete(ABSENT),
        ]) {
          const failure = await failureOf(ask());
          expect(failure).toBeInstanceOf(Pop3CommandError);
          expect(failure).toMatchObject({ code: 'upstream_command_failed' });
          expect(failure.message).toContain(` ${ABSENT} `);
        }
        expect(client.state).toBe('transaction');
        expectMail(1, await retrieveAll(client, 1), MAILS[0]);
      }));

    it('gets the others whole where one of many is refused', () =>
      session(async (client) => {
        const retrieved = new Map<number, string>();
        const mails = await readBodies(client.retrieveAll(WITH_A_GAP), retrieved);
        for (const number of NUMBERS) expectMail(number, mails.get(number), MAILS[number - 1]);
        const topped = new Map<number, string>();
        const tops = await readBodies(client.topAll(WITH_A_GAP, 1), topped);
        for (const number of NUMBERS) expectMail(number, tops.get(number), topOf(mailOf(number), 1));
        for (const refused of [retrieved, topped]) {
          expect([...refused]).toEqual([[ABSENT, 'upstream_command_failed']]);
        }
      }));

    it('is refused a wrong password', async () => {
      const settings = await server.maildrop();
      const failure = await failureOf(logIn({ ...settings, password: 'hunter2' }));
      expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
      expect(failure.message).not.toContain('hunter2');
    });
  });
}

/** By message number, in the order in which they came; those that were refused go to `refused`, with the code. */
async function readBodies(
  messages: AsyncIterable<RetrievedMessage<{ number: number }>>,
  refused = new Map<number, string>(),
): Promise<Map<number, Buffer>> {
  const bodies = new Map<number, Buffer>();
  for await (const { message, body, error } of messages) {
    if (body) bodies.set(message.number, await readAll(body));
    else refused.set(message.number, error.code);
  }
  return bodies;
}

/** Megabytes that differ are no message to read. */
function expectMail(number: number, got: Buffer | undefined, mail: Buffer | undefined): void {
  const same = got !== undefined && mail !== undefined && got.equals(mail);
  expect(same, `mail ${number}, ${got?.length} of ${mail?.length} bytes`).toBe(true);
}

function mailOf(number: number): Buffer {
  const mail = MAILS[number - 1];
  if (mail === undefined) throw new Error(`There is no mail ${number}.`);
  return mail;
}

/** RFC 1939 §7: the header, the blank line, and so many lines of the body. */
function topOf(mail: Buffer, lines: number): Buffer {
  const text = mail.toString('latin1');
  const body = text.indexOf('\r\n\r\n') + 4;
  const wanted = text
    .slice(body)
    .split(/(?<=\r\n)/)
    .slice(0, lines);
  return Buffer.from(text.slice(0, body) + wanted.join(''), 'latin1');
}
