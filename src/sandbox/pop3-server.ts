/**
 * A small POP3 server to try popbridge on: RFC 1939 with the extensions of RFC 2449, one account, mail in memory.
 *
 * This file owns the socket: lines in, answers out, and the bounds on both. What is answered is decided in
 * `pop3-session.ts`. It has no TLS, no storage and no second account, and is not meant for real mail.
 */

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { POP3_LIMITS } from './limits.ts';
import type { Pop3Limits } from './limits.ts';
import { Maildrop } from './maildrop.ts';
import type { MailInput } from './maildrop.ts';
import { Pop3Session } from './pop3-session.ts';
import type { Answer } from './transaction.ts';

export interface SandboxPop3Options {
  /** `127.0.0.1` unless set. */
  readonly host?: string;
  /** 0, a free one, unless set. */
  readonly port?: number;
  readonly user: string;
  readonly password: string;
  readonly mails: readonly MailInput[];
  readonly limits?: Partial<Pop3Limits>;
}

export interface SandboxPop3 {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** Mails in the maildrop now; those marked in a session still under way count. */
  messageCount(): number;
  /** Stops listening and cuts the sessions under way. */
  close(): Promise<void>;
}

/** Resolves when the server listens. Throws what `listen` throws, for instance EADDRINUSE. */
export async function startSandboxPop3(options: SandboxPop3Options): Promise<SandboxPop3> {
  const { host = '127.0.0.1', port = 0, user, password } = options;
  const limits = { ...POP3_LIMITS, ...options.limits };
  const maildrop = new Maildrop(options.mails);
  const sockets = new Set<Socket>();

  // Half-open, so that `printf 'QUIT\r\n' | nc` is answered although nc has already said all that it will.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    void serve(socket, new Pop3Session({ user, password }, maildrop, limits.authFailuresMax), limits);
  });
  server.maxConnections = limits.connectionsMax;
  server.listen(port, host);
  await once(server, 'listening');

  return {
    host,
    port: (server.address() as AddressInfo).port,
    user,
    password,
    messageCount: () => maildrop.messageCount,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function serve(socket: Socket, session: Pop3Session, limits: Pop3Limits): Promise<void> {
  // RFC 1939 section 3: autologout closes the connection without entering the UPDATE state.
  socket.setTimeout(limits.idleTimeoutMs, () => socket.destroy());
  // A reset may come after the pipeline below has let go of the socket; an error nobody listens to ends the process.
  socket.on('error', () => socket.destroy());
  try {
    await pipeline(converse(socket, session, limits), socket);
  } catch {
    // The client went away in the middle of a session, or the idle timer ended it: nobody is left to tell.
  } finally {
    session.close();
    socket.destroySoon();
  }
}

/** Pulled by the pipeline: while the client does not read its answers, no further command is read from it. */
async function* converse(socket: Socket, session: Pop3Session, limits: Pop3Limits): AsyncGenerator<Answer> {
  yield session.greet();
  for await (const line of readLines(socket, limits.lineBytesMax)) {
    if (line === undefined) {
      yield '-ERR command line too long\r\n';
      return;
    }
    const { bytes, last } = session.answer(line);
    yield bytes;
    if (last) return;
  }
}

/** Command lines without their line ends; undefined, and the end, for one longer than `lineBytesMax` with its line end. */
async function* readLines(socket: Socket, lineBytesMax: number): AsyncGenerator<string | undefined> {
  let pending = Buffer.alloc(0);
  // The socket outlives this loop: the last answer has to be written.
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    pending = Buffer.concat([pending, chunk as Buffer]);
    let start = 0;
    for (let end = pending.indexOf('\n'); end !== -1; end = pending.indexOf('\n', start)) {
      if (end + 1 - start > lineBytesMax) break;
      yield pending.toString('utf8', start, end).replace(/\r$/, '');
      start = end + 1;
    }
    pending = pending.subarray(start);
    // Whole lines are gone by now, so that what is left and this long is one line that has no end in sight.
    if (pending.length >= lineBytesMax) {
      yield undefined;
      return;
    }
  }
}
