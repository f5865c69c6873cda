/**
 * A scripted POP3 server for what no real one can be made to do: lie, stall, vanish, dribble.
 *
 * Where it is not told otherwise it answers correctly, so that a test states its one lie and nothing else. It records every line,
 * and a test can wait for one or hold back the reply to it. What a script can say is in `fake-pop3-script.ts`.
 */

import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { Mail } from '../../src/sandbox/transaction.ts';
import { FakeConnection } from './fake-pop3-connection.ts';
import type { FakeServer } from './fake-pop3-connection.ts';
import { isCommand } from './fake-pop3-script.ts';
import type { Reply, Script } from './fake-pop3-script.ts';

export { cutBody } from './fake-pop3-script.ts';

export interface FakePop3Options {
  /** `+OK ready` unless set; null says nothing. Any reply will do, for instance `220 smtp.example.com ESMTP` or `close`. */
  readonly greeting?: Reply | null;
  /** Sent as they are, whatever their line ends; the unique-ids are `uid-1` and so on unless given. */
  readonly mails?: readonly (Buffer | string | Mail)[];
  /** The lines of CAPA; STLS is added while it is on offer. */
  readonly capabilities?: readonly string[];
  /** Any user and password will do unless set. */
  readonly account?: { readonly user: string; readonly password: string };
  /** Everything goes out in pieces of so many bytes, each in a TCP segment (or TLS record) of its own. */
  readonly chunkBytes?: number;
  readonly on?: Script;
  /** PEM. With it STLS is on offer, or TLS expected from the first byte if `implicitTls` is set. */
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly implicitTls?: boolean;
}

interface ReceivedLine {
  /** 1 for the first connection. */
  readonly connection: number;
  readonly line: string;
  /** Whether it came under TLS. */
  readonly tls: boolean;
}

interface Hold {
  /** The command is here; its reply, and those to all commands after it on that connection, are held back. */
  readonly reached: Promise<void>;
  release(): void;
}

export interface FakePop3 {
  readonly host: string;
  readonly port: number;
  /** What the next session finds; a test may change it. QUIT takes away what the session marked. */
  mails: readonly Mail[];
  /** Every line received, in order of arrival, answered or not. */
  readonly lines: readonly ReceivedLine[];
  /** The same, bare. */
  readonly commands: readonly string[];
  /** Connections accepted so far. */
  readonly connections: number;
  readonly openSockets: number;
  /**
   * Resolves when such a command has come `times` times (1), be it long ago. `RETR` stands for every RETR, `RETR 3` for that one.
   * Throws after five seconds, with what came instead.
   */
  received(command: string, times?: number): Promise<void>;
  /** Resolves when no connection is open. Throws after five seconds. */
  idle(): Promise<void>;
  /** Holds back the reply to the next such command. */
  hold(command: string): Hold;
  /** Throws what a handler has thrown. */
  close(): Promise<void>;
}

const WAIT_TIMEOUT_MS = 5_000;
const CAPABILITIES = ['TOP', 'UIDL', 'USER', 'RESP-CODES', 'PIPELINING'];

interface PendingHold {
  readonly command: string;
  readonly reach: () => void;
  readonly released: Promise<void>;
}

export async function startFakePop3(options: FakePop3Options = {}): Promise<FakePop3> {
  const lines: ReceivedLine[] = [];
  const holds: PendingHold[] = [];
  const sockets = new Set<Socket>();
  const failures: unknown[] = [];
  const changes = new EventEmitter().setMaxListeners(0);
  let connections = 0;

  const shared: FakeServer = {
    greeting: options.greeting === undefined ? '+OK ready' : options.greeting,
    capabilities: options.capabilities ?? CAPABILITIES,
    account: options.account,
    chunkBytes: options.chunkBytes ?? Number.POSITIVE_INFINITY,
    script: options.on ?? {},
    tls: options.tls,
    implicitTls: options.implicitTls ?? false,
    mails: (options.mails ?? []).map(toMail),
    lineReceived({ connection, tls }, line) {
      lines.push({ connection, line, tls });
      changes.emit('change');
    },
    async mayAnswer(line) {
      const index = holds.findIndex(({ command }) => isCommand(line, command));
      const [hold] = index === -1 ? [] : holds.splice(index, 1);
      hold?.reach();
      await hold?.released;
    },
    failed(error) {
      failures.push(error);
    },
  };

  async function until(condition: () => boolean, what: string): Promise<void> {
    const signal = AbortSignal.timeout(WAIT_TIMEOUT_MS);
    while (!condition()) {
      try {
        await once(changes, 'change', { signal });
      } catch {
        const seen = lines.map(({ line }) => line).join(', ');
        throw new Error(`${what} did not happen. Received: ${seen}. Open sockets: ${sockets.size}.`);
      }
    }
  }

  const server = createServer({ noDelay: true }, (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      changes.emit('change');
    });
    new FakeConnection(shared, socket, connections).start();
    changes.emit('change');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    lines,
    get mails() {
      return shared.mails;
    },
    set mails(mails) {
      shared.mails = mails;
    },
    get commands() {
      return lines.map(({ line }) => line);
    },
    get connections() {
      return connections;
    },
    get openSockets() {
      return sockets.size;
    },
    received: (command, times = 1) =>
      until(() => lines.filter(({ line }) => isCommand(line, command)).length >= times, `${times} x ${command}`),
    idle: () => until(() => sockets.size === 0, 'The end of all connections'),
    hold(command) {
      const reached = Promise.withResolvers<void>();
      const released = Promise.withResolvers<void>();
      holds.push({ command, reach: reached.resolve, released: released.promise });
      return { reached: reached.promise, release: released.resolve };
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
      if (failures.length > 0) throw failures[0];
    },
  };
}

function toMail(mail: Buffer | string | Mail, index: number): Mail {
  if (typeof mail === 'string' || Buffer.isBuffer(mail)) return { uidl: `uid-${index + 1}`, raw: Buffer.from(mail) };
  return mail;
}
