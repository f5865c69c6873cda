import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pop3Client } from '../../src/pop3/index.ts';
import type { Pop3Settings } from '../../src/pop3/index.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startSandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import { makeCertificates } from '../support/certificates.ts';
import { courierAvailable, startCourier } from '../support/courier.ts';
import { dovecotAvailable, startDovecot } from '../support/dovecot.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { failureOf, retrieveAll } from './fake-session.ts';

const PASSWORD = 'right: with, signs ü';

/** With CRLF line ends, as servers hold them: kinds of mail, and what is hard on the wire. */
const MAILS: readonly Buffer[] = [
  ...sandboxMails().map(({ raw }) => raw),
  Buffer.from('Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n'),
  Buffer.from('Subject: bytes\r\n\r\n\x01\x7f\x80\xff\r\n', 'latin1'),
  Buffer.from(`Subject: a long line\r\n\r\n${'.'.repeat(300_000)}\r\n`),
  Buffer.from(`Subject: many lines\r\n\r\n${'.\r\n..x\r\n\r\n'.repeat(30_000)}`),
];

interface Server {
  /** Settings of a maildrop that holds MAILS, and that nobody else uses. */
  maildrop(): Promise<Pop3Settings>;
  close(): Promise<void>;
}

interface Kind {
  name: string;
  skip?: boolean;
  start(): Promise<Server>;
}

function ownServers(tls: Pop3Settings['tls'] | 'sandbox'): () => Promise<Server> {
  return async () => {
    const certificates = await makeCertificates();
    const opened: { close(): Promise<void> }[] = [];
    return {
      async maildrop() {
        const account = { user: 'u', password: PASSWORD };
        const secured = tls === 'starttls' || tls === 'implicit';
        const server =
          tls === 'sandbox'
            ? await startSandboxPop3({ ...account, mails: MAILS })
            : await startFakePop3({
                account,
                mails: MAILS,
                ...(secured && { tls: certificates.server, implicitTls: tls === 'implicit' }),
              });
        opened.push(server);
        const { host, port } = server;
        return {
          host,
          port,
          tls: tls === 'sandbox' ? 'none' : tls,
          username: 'u',
          password: PASSWORD,
          ca: certificates.ca,
        };
      },
      async close() {
        for (const server of opened) await server.close();
        await certificates.remove();
      },
    };
  };
}

function realServer(
  tls: Pop3Settings['tls'],
  launch: typeof startCourier | typeof startDovecot,
): () => Promise<Server> {
  return async () => {
    const free = ['u1', 'u2', 'u3', 'u4', 'u5'];
    const users = Object.fromEntries(free.map((user) => [user, { password: PASSWORD, mails: MAILS }]));
    const server = await launch({ users });
    const port = tls === 'implicit' ? server.tlsPort : server.port;
    return {
      async maildrop() {
        const username = free.pop();
        if (username === undefined) throw new Error('More users are wanted.');
        return { host: server.host, port, tls, username, password: PASSWORD, ca: server.ca };
      },
      close: () => server.close(),
    };
  };
}

const skip = !dovecotAvailable();
const noCourier = !courierAvailable();
const KINDS: readonly Kind[] = [
  { name: 'the fake server', start: ownServers('none') },
  { name: 'the fake server, STLS', start: ownServers('starttls') },
  { name: 'the fake server, TLS', start: ownServers('implicit') },
  { name: 'the sandbox server', start: ownServers('sandbox') },
  { name: 'Dovecot (skipped where it is not installed)', skip, start: realServer('none', startDovecot) },
  { name: 'Dovecot, STLS (skipped where it is not installed)', skip, start: realServer('starttls', startDovecot) },
  { name: 'Dovecot, TLS (skipped where it is not installed)', skip, start: realServer('implicit', startDovecot) },
  { name: 'Courier (skipped where it is not unpacked)', skip: noCourier, start: realServer('none', startCourier) },
  {
    name: 'Courier, STLS (skipped where it is not unpacked)',
    skip: noCourier,
    start: realServer('starttls', startCourier),
  },
  {
    name: 'Courier, TLS (skipped where it is not unpacked)',
    skip: noCourier,
    start: realServer('implicit', startCourier),
  },
];

for (const { name, skip = false, start } of KINDS) {
  describe.skipIf(skip)(`the client with ${name}`, () => {
    let server: Server;

    beforeAll(async () => {
      server = await start();
    });

    afterAll(async () => {
      await server?.close();
    });

    it('lists the maildrop', () =>
      session(server, async (client) => {
        const numbers = MAILS.map((_, index) => index + 1);
        const sizes = await client.list();
        expect([...sizes.keys()]).toEqual(numbers);
        expect([...sizes.values()]).toEqual(MAILS.map(({ length }) => length));
        const uidls = await client.uidl();
        expect([...(uidls?.keys() ?? [])]).toEqual(numbers);
        expect(new Set(uidls?.values()).size).toBe(MAILS.length);
        expect(await client.stat()).toEqual({ count: MAILS.length, bytes: Buffer.concat(MAILS).length });
      }));

    it('fetches every mail byte for byte', () =>
      session(server, async (client) => {
        for (const [index, mail] of MAILS.entries()) {
          const got = await retrieveAll(client, index + 1);
          expect(got.equals(mail), `mail ${index + 1}, ${got.length} of ${mail.length} bytes`).toBe(true);
        }
      }));

    it('deletes with a confirmed QUIT, and without one deletes nothing', async () => {
      const settings = await server.maildrop();
      const kept = await logIn(settings);
      await kept.delete(1);
      const uidls = await kept.uidl();
      kept.close();
      const gone = await logInAgain(settings);
      expect((await gone.list()).size).toBe(MAILS.length);
      await gone.delete(2);
      await gone.delete(3);
      expect(await gone.quit()).toBe(true);
      const after = await logInAgain(settings);
      expect((await after.list()).size).toBe(MAILS.length - 2);
      expect([...((await after.uidl())?.values() ?? [])].slice(1)).toEqual([...(uidls?.values() ?? [])].slice(2));
      expect(await after.quit()).toBe(true);
    });

    it('is refused what is not there, and goes on', () =>
      session(server, async (client) => {
        const failure = await failureOf(client.retrieve(MAILS.length + 1));
        expect(failure).toMatchObject({ code: 'upstream_command_failed', phase: 'retrieve' });
        expect((await retrieveAll(client, 1)).equals(MAILS[0]!)).toBe(true);
      }));

    it('is refused a wrong password', async () => {
      const settings = await server.maildrop();
      const failure = await failureOf(logIn({ ...settings, password: 'hunter2' }));
      expect(failure).toMatchObject({ code: 'upstream_auth_failed', phase: 'login' });
      expect(failure.message).not.toContain('hunter2');
    });
  });
}

async function session(server: Server, work: (client: Pop3Client) => Promise<void>): Promise<void> {
  const client = await logIn(await server.maildrop());
  try {
    await work(client);
    expect(await client.quit()).toBe(true);
  } finally {
    client.close();
  }
}

async function logIn(settings: Pop3Settings): Promise<Pop3Client> {
  const client = await Pop3Client.connect(settings);
  try {
    await client.login();
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}

/** A server may notice only after a moment that the last session is over. */
async function logInAgain(settings: Pop3Settings): Promise<Pop3Client> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await logIn(settings);
    } catch (error) {
      if (tries === 50 || !(error instanceof Error && 'code' in error && error.code === 'upstream_locked')) throw error;
    }
  }
}
