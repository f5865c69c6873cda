/** A server that goes away, in every phase and in every way: a typed error with its phase, and no socket left. */
import { once } from 'node:events';
import { connect as connectTcp, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Pop3ConnectionError, type Pop3Client, type Pop3Settings } from '../../src/pop3/index.ts';
import { makeCertificates } from '../support/certificates.ts';
import type { Certificates } from '../support/certificates.ts';
import { cutBody } from '../support/fake-pop3.ts';
import type { FakePop3, FakePop3Options } from '../support/fake-pop3.ts';
import { connect, failureOf, logIn, readAll, retrieveAll, startFake } from './fake-session.ts';

const MAIL = Buffer.from(`Subject: x\r\n\r\n${'text\r\n'.repeat(2000)}`);

let certificates: Certificates;

beforeAll(async () => {
  certificates = await makeCertificates();
  return () => certificates.remove();
});

type Ending = 'close' | 'reset';

interface Disconnect {
  where: string;
  phase: string;
  fake(ending: Ending): FakePop3Options;
  settings?: Partial<Pop3Settings>;
  /** What meets it once the session is logged in, or only connected; where it is absent, connecting does. */
  loggedIn?: (client: Pop3Client) => Promise<unknown>;
  connected?: (client: Pop3Client) => Promise<unknown>;
}

/** In place of an answer. */
function unanswered(phase: string, command: string, loggedIn: Disconnect['loggedIn']): Disconnect {
  const fake = (ending: Ending): FakePop3Options => ({ mails: [MAIL], on: { [command]: () => ending } });
  return { where: command, phase, fake, ...(loggedIn && { loggedIn }) };
}

/** In the middle of a multi-line answer. */
function inBody(phase: string, command: string, loggedIn: Disconnect['loggedIn']): Disconnect {
  const fake = (after: Ending): FakePop3Options => ({
    mails: [MAIL],
    on: { [command]: () => ({ bytes: Buffer.from('+OK\r\n1 2\r\n3 '), after }) },
  });
  return { where: `the lines of ${command}`, phase, fake, ...(loggedIn && { loggedIn }) };
}

const DISCONNECTS: readonly Disconnect[] = [
  {
    where: 'the middle of the greeting',
    phase: 'greeting',
    fake: (after) => ({ greeting: { bytes: Buffer.from('+OK rea'), after } }),
  },
  {
    where: 'CAPA',
    phase: 'capabilities',
    fake: (ending) => ({ on: { CAPA: () => ending } }),
    connected: (client) => client.capa(),
  },
  {
    where: 'the lines of CAPA',
    phase: 'capabilities',
    fake: (after) => ({ on: { CAPA: () => ({ bytes: Buffer.from('+OK\r\nTOP\r\nUI'), after }) } }),
    connected: (client) => client.capa(),
  },
  {
    where: 'STLS',
    phase: 'tls',
    settings: { tls: 'starttls' },
    fake: (ending) => ({ on: { STLS: () => ending } }),
  },
  {
    where: 'the handshake behind STLS',
    phase: 'tls',
    settings: { tls: 'starttls' },
    fake: (after) => ({ on: { STLS: () => ({ bytes: '+OK', after }) } }),
  },
  {
    where: 'USER',
    phase: 'login',
    fake: (ending) => ({ on: { USER: () => ending } }),
    connected: (client) => client.login(),
  },
  {
    where: 'CAPA after the login',
    phase: 'capabilities',
    fake: (ending) => ({ on: { CAPA: (_, { authenticated }) => (authenticated ? ending : undefined) } }),
    settings: { skipCapa: false },
    connected: (client) => client.login(),
  },
  unanswered('list', 'STAT', (client) => client.stat()),
  unanswered('list', 'LIST', (client) => client.list()),
  unanswered('list', 'UIDL', (client) => client.uidl()),
  unanswered('list', 'NOOP', (client) => client.noop()),
  unanswered('retrieve', 'RETR', (client) => client.retrieve(1)),
  unanswered('retrieve', 'TOP', (client) => client.top(1, 0)),
  unanswered('delete', 'DELE', (client) => client.delete(1)),
  unanswered('delete', 'RSET', (client) => client.reset()),
  unanswered('quit', 'QUIT', (client) => client.quit()),
  inBody('list', 'LIST', (client) => client.list()),
  inBody('list', 'UIDL', (client) => client.uidl()),
  inBody('retrieve', 'TOP', async (client) => readAll(await client.top(1, 0))),
  inBody('retrieve', 'RETR', (client) => retrieveAll(client, 1)),
];

describe.each(['close', 'reset'] as const)('a %s', (ending) => {
  it.each(DISCONNECTS)('in $where is told with the phase $phase', async ({ phase, fake: options, ...rest }) => {
    const fake = await startFake(options(ending));
    const failure = await failureOf(meet(fake, rest));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_closed', phase, isRetryable: true });
    expect(failure.message).toContain(`127.0.0.1:${fake.port}`);
    await fake.idle();
  });
});

// A reset at once may be met while the client is still connecting; the table has one that comes later.
it('a close in place of the greeting is told with the phase greeting', async () => {
  const fake = await startFake({ greeting: 'close' });
  expect(await failureOf(connect(fake))).toMatchObject({ code: 'upstream_closed', phase: 'greeting' });
  await fake.idle();
});

async function meet(fake: FakePop3, { settings, connected, loggedIn }: Omit<Disconnect, 'fake' | 'phase'>) {
  if (loggedIn) return loggedIn(await logIn(fake, settings));
  const client = await connect(fake, settings);
  return connected?.(client);
}

/** Passes everything on until it cuts: the octets of TLS stop coming, without the close_notify that ends TLS (RFC 8446 §6.1). */
async function startWire(fake: FakePop3) {
  const sockets: Socket[] = [];
  const server = createServer({ noDelay: true }, (near) => {
    const far = connectTcp({ host: fake.host, port: fake.port, noDelay: true });
    for (const socket of [near, far]) socket.on('error', () => undefined);
    near.pipe(far).pipe(near);
    sockets.push(near, far);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    cut(how: 'end' | 'resetAndDestroy'): void {
      const [near, far] = sockets;
      far?.unpipe();
      near?.[how]();
    },
  };
}

describe.each(['end', 'resetAndDestroy'] as const)('TLS that ends without close_notify, by %s', (how) => {
  async function open(options: FakePop3Options) {
    const fake = await startFake({ tls: certificates.server, implicitTls: true, mails: [MAIL], ...options });
    const wire = await startWire(fake);
    const client = await logIn(wire, { tls: 'implicit', tlsOptions: { ca: certificates.ca } });
    return { wire, client };
  }

  it('in the middle of a message fails that message', async () => {
    const { wire, client } = await open({ on: { RETR: () => cutBody(MAIL, 5000, 'silence') } });
    let bytes = 0;
    const reading = failureOf(
      (async () => {
        for await (const chunk of await client.retrieve(1)) {
          bytes += chunk.length;
          if (bytes >= 5000) wire.cut(how);
        }
      })(),
    );
    const failure = await reading;
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'retrieve' });
    expect(bytes).toBe(5000);
    expect(client.state).toBe('closed');
  });

  it('behind text that looks like the end of a message, but is none, fails that message', async () => {
    const reply = { bytes: Buffer.from('+OK\r\ntext\r\n.'), after: 'silence' } as const;
    const { wire, client } = await open({ on: { RETR: () => reply } });
    let text = '';
    const reading = (async () => {
      for await (const chunk of await client.retrieve(1)) {
        text += String(chunk);
        if (text === 'text\r\n') wire.cut(how);
      }
    })();
    expect(await failureOf(reading)).toMatchObject({ code: 'upstream_closed', phase: 'retrieve' });
  });

  it('behind a whole message fails no message, but the next command', async () => {
    const { wire, client } = await open({ on: { DELE: () => 'silence' } });
    expect((await retrieveAll(client, 1)).equals(MAIL)).toBe(true);
    wire.cut(how);
    const failure = await failureOf(client.delete(1));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_closed' });
  });

  it('in place of the answer to QUIT leaves open whether it was done', async () => {
    const { wire, client } = await open({ on: { QUIT: () => (wire.cut(how), 'silence') } });
    const failure = await failureOf(client.quit());
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'quit' });
  });
});
