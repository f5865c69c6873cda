/** What a session is, from CAPA to QUIT, is the same with every kind of server, the scripted and the real ones. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pop3Client, Pop3CommandError } from '../../src/pop3/index.ts';
import { KINDS, MAILS } from '../support/pop3-kinds.ts';
import type { Pop3Server } from '../support/pop3-kinds.ts';
import { inSession, logIn, logInAgain } from '../support/pop3-sessions.ts';
import { failureOf, retrieveAll } from './fake-session.ts';

const ABSENT = MAILS.length + 1;

for (const { name, skip, capabilities, start } of KINDS) {
  describe.skipIf(skip)(`a session with ${name}`, () => {
    let server: Pop3Server;

    beforeAll(async () => {
      server = await start(8);
    });

    afterAll(async () => {
      await server?.close();
    });

    it('is told what the server can do, before the login and after it', async () => {
      const client = await Pop3Client.connect(await server.maildrop());
      expect(linesOf(client)).toEqual([...capabilities.before].sort());
      expect(client.capabilities.pipelining).toBe(true);
      await client.login();
      expect(linesOf(client)).toEqual([...capabilities.after].sort());
      expect(client.capabilities.pipelining).toBe(true);
      expect(await client.capa()).toBe(client.capabilities);
      expect(linesOf(client)).toEqual([...capabilities.after].sort());
      expect(await client.quit()).toBe(true);
    });

    it('is in authorization until the login, then in transaction until QUIT', async () => {
      const client = await Pop3Client.connect(await server.maildrop());
      expect(client.state).toBe('authorization');
      expect(await failureOf(client.stat())).toBeInstanceOf(Pop3CommandError);
      expect(client.state).toBe('authorization');
      await client.login();
      expect(client.state).toBe('transaction');
      expect(await failureOf(client.login())).toBeInstanceOf(Pop3CommandError);
      expect((await client.stat()).count).toBe(MAILS.length);
      expect(client.state).toBe('transaction');
      expect(await client.quit()).toBe(true);
      expect(client.state).toBe('closed');
      expect(await failureOf(client.stat())).toMatchObject({ code: 'upstream_closed' });
    });

    it('is kept alive by NOOP, between two mails and after the last', async () =>
      inSession(await server.maildrop(), async (client) => {
        await client.noop();
        expect((await retrieveAll(client, 1)).equals(MAILS[0] ?? Buffer.alloc(0))).toBe(true);
        await client.noop();
        expect((await retrieveAll(client, 2)).equals(MAILS[1] ?? Buffer.alloc(0))).toBe(true);
        await client.noop();
        expect(client.state).toBe('transaction');
      }));

    it('deletes with a confirmed QUIT, and without one deletes nothing', async () => {
      const settings = await server.maildrop();
      const kept = await logIn(settings);
      await kept.delete(1);
      const uidls = await uidlsOf(kept);
      kept.close();
      const gone = await logInAgain(settings);
      expect((await gone.list()).size).toBe(MAILS.length);
      await gone.delete(2);
      await gone.delete(3);
      expect(await gone.quit()).toBe(true);
      expect(gone.state).toBe('closed');
      const after = await logInAgain(settings);
      expect((await after.list()).size).toBe(MAILS.length - 2);
      expect((await uidlsOf(after)).slice(1)).toEqual(uidls.slice(2));
      expect(await after.quit()).toBe(true);
    });

    it('deletes many at once, tells which were refused, and the others are gone', async () => {
      const settings = await server.maildrop();
      const first = await logIn(settings);
      const uidls = await uidlsOf(first);
      const refused = await first.deleteAll([1, 4, ABSENT, MAILS.length]);
      expect([...refused.keys()]).toEqual([ABSENT]);
      expect(refused.get(ABSENT)).toBeInstanceOf(Pop3CommandError);
      expect(refused.get(ABSENT)).toMatchObject({ code: 'upstream_command_failed', phase: 'delete' });
      expect([...(await first.deleteAll([4, 2])).keys()]).toEqual([4]); // It is marked by now.
      expect((await first.stat()).count).toBe(MAILS.length - 4);
      expect(await failureOf(first.retrieve(4))).toMatchObject({ code: 'upstream_command_failed' });
      expect(await first.quit()).toBe(true);
      const second = await logInAgain(settings);
      expect(await uidlsOf(second)).toEqual(uidls.filter((_, index) => ![0, 1, 3, MAILS.length - 1].includes(index)));
      expect(await second.quit()).toBe(true);
    });

    it('undoes by RSET what it had marked', async () => {
      const settings = await server.maildrop();
      const first = await logIn(settings);
      const uidls = await uidlsOf(first);
      await first.delete(1);
      await first.deleteAll([2, 3]);
      expect((await first.stat()).count).toBe(MAILS.length - 3);
      await first.reset();
      expect((await first.stat()).count).toBe(MAILS.length);
      expect((await retrieveAll(first, 2)).equals(MAILS[1] ?? Buffer.alloc(0))).toBe(true);
      await first.delete(5); // Marked after it, it goes.
      expect(await first.quit()).toBe(true);
      const second = await logInAgain(settings);
      expect(await uidlsOf(second)).toEqual(uidls.toSpliced(4, 1));
      expect(await second.quit()).toBe(true);
    });

    it('gives each mail the same unique-id as the session before', async () => {
      const settings = await server.maildrop();
      const uidls: (string | null)[][] = [];
      for (const open of [logIn, logInAgain]) {
        const client = await open(settings);
        uidls.push(await uidlsOf(client));
        expect(await client.quit()).toBe(true);
      }
      expect(uidls[0]?.length).toBe(MAILS.length);
      expect(uidls[1]).toEqual(uidls[0]);
    });

    it('does without CAPA, by USER and PASS, one command after the other', async () =>
      inSession({ ...(await server.maildrop()), skipCapa: true }, async (client) => {
        expect(client.capabilities.entries.size).toBe(0);
        expect((await client.deleteAll([1, 2])).size).toBe(0);
        expect((await client.stat()).count).toBe(MAILS.length - 2);
        await client.reset();
      }));
  });
}

/** What CAPA said, sorted: no server promises an order. */
function linesOf(client: Pop3Client): string[] {
  return [...client.capabilities.entries].map(([name, args]) => [name, ...args].join(' ')).sort();
}

async function uidlsOf(client: Pop3Client): Promise<(string | null)[]> {
  return [...((await client.uidl())?.values() ?? [])];
}
