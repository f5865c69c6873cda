/** The memory of a message's octets: the consumer's to keep, or lent for a moment. */
import { describe, expect, it } from 'vitest';
import { cutBody } from '../support/fake-pop3.ts';
import { failureOf, logIn, readAll, retrieveAll, startFake } from './fake-session.ts';

const MAILS = Array.from({ length: 20 }, (_, n) =>
  Buffer.from(`Subject: ${n}\r\n\r\n${'.text\r\n'.repeat(n * 300)}end\r\n`),
);
const WANTED = MAILS.map(({ length }, index) => ({ number: index + 1, bytes: length }));
const LARGE = Buffer.from(`${'x'.repeat(998)}\r\n`.repeat(3000));

describe('chunks that are kept', () => {
  it('stay what they are', async () => {
    const client = await logIn(await startFake({ mails: [LARGE] }));
    const chunks: Buffer[] = [];
    for await (const chunk of await client.retrieve(1)) chunks.push(chunk);
    await client.quit();
    expect(chunks.length).toBeGreaterThan(1);
    expect(Buffer.concat(chunks).equals(LARGE)).toBe(true);
  });
});

describe('chunks that are lent', () => {
  it('are empty once the next is asked for, and until then whole', async () => {
    const client = await logIn(await startFake({ mails: [LARGE] }), {}, { chunks: 'lent' });
    const copies: Buffer[] = [];
    const lent: Buffer[] = [];
    for await (const chunk of await client.retrieve(1)) {
      copies.push(Buffer.from(chunk));
      lent.push(chunk);
    }
    expect(Buffer.concat(copies).equals(LARGE)).toBe(true);
    expect(lent.length).toBeGreaterThan(1);
    expect(lent.filter(({ length }) => length > 0)).toEqual([]);
    await client.quit();
  });

  it.each([1, 7, 1000, Number.POSITIVE_INFINITY])(
    'come right, pipelined, with bodies passed over, in pieces of %d octets',
    async (chunkBytes) => {
      const mails = chunkBytes < 1000 ? MAILS.slice(0, 4) : MAILS;
      const fake = await startFake({ mails, chunkBytes });
      const client = await logIn(fake, { skipCapa: false }, { chunks: 'lent' });
      for await (const { message, body } of client.retrieveAll(WANTED.slice(0, mails.length))) {
        if (message.number % 3 === 0 || !body) continue;
        const copies: Buffer[] = [];
        for await (const chunk of body) copies.push(Buffer.from(chunk));
        expect(Buffer.concat(copies).equals(MAILS[message.number - 1]!), `mail ${message.number}`).toBe(true);
      }
      expect(await client.quit()).toBe(true);
    },
  );

  it('of one body do not lose what another holds, in whatever order they are read', async () => {
    const client = await logIn(await startFake({ mails: MAILS.slice(0, 3) }), {}, { chunks: 'lent' });
    const [first, second] = [await client.retrieve(2), await client.retrieve(3)];
    for (const [body, mail] of [
      [second, MAILS[2]!],
      [first, MAILS[1]!],
    ] as const) {
      const copies: Buffer[] = [];
      for await (const chunk of body) copies.push(Buffer.from(chunk));
      expect(Buffer.concat(copies).equals(mail)).toBe(true);
    }
  });

  it('are whole up to where the server broke off, and the lines of lists are right all along', async () => {
    const fake = await startFake({
      mails: [LARGE],
      on: { RETR: () => cutBody(LARGE, 100_000, 'close') },
      chunkBytes: 500,
    });
    const client = await logIn(fake, {}, { chunks: 'lent' });
    expect(await client.list()).toEqual(new Map([[1, LARGE.length]]));
    const body = await client.retrieve(1);
    let bytes = 0;
    const reading = (async () => {
      for await (const chunk of body) bytes += chunk.length;
    })();
    expect(await failureOf(reading)).toMatchObject({ code: 'upstream_closed', phase: 'retrieve' });
    expect(bytes).toBe(100_000);
  });
});

describe('a list', () => {
  it('of a million messages comes whole', async () => {
    const lines = Array.from({ length: 1_000_000 }, (_, index) => `${index + 1} ${4000 + (index % 2)}\r\n`).join('');
    const fake = await startFake({ on: { LIST: () => Buffer.from(`+OK\r\n${lines}.\r\n`) } });
    const client = await logIn(fake);
    let [count, bytes] = [0, 0];
    for await (const entry of client.streamList()) {
      count += 1;
      bytes += entry.bytes ?? 0;
      if (entry.number !== count) throw new Error(`${entry.number} came as the ${count}th`);
    }
    expect(count).toBe(1_000_000);
    expect(bytes).toBe(4_000_500_000);
    expect(await client.stat()).toEqual({ count: 0, bytes: 0 });
  });

  it('gives its first entries before its end is sent', async () => {
    const fake = await startFake({
      on: { UIDL: () => ({ bytes: Buffer.from('+OK\r\n1 a\r\n2 b\r\n3'), after: 'silence' }) },
    });
    const client = await logIn(fake);
    const entries = client.streamUidl();
    expect((await entries.next()).value).toEqual({ number: 1, uidl: 'a' });
    expect((await entries.next()).value).toEqual({ number: 2, uidl: 'b' });
    await entries.return();
    await fake.idle();
    expect(client.state).toBe('closed');
  });

  it('that nobody reads on ends the session and leaves the messages alone', async () => {
    const client = await logIn(await startFake({ mails: MAILS }));
    for await (const { number } of client.streamList()) if (number === 3) break;
    // It had come whole: nothing was under way any more.
    expect(await readAll(await client.retrieve(1))).toEqual(MAILS[0]);
    expect((await retrieveAll(client, 2)).equals(MAILS[1]!)).toBe(true);
  });
});
