/** Servers that are slow without being silent, and answers without end. Time is the tests' own. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { listingBytesMax, maildropMessagesMax, type Pop3Timeouts } from '../../src/pop3/limits.ts';
import { Pop3ConnectionError, Pop3ProtocolError, type Pop3Client } from '../../src/pop3/index.ts';
import { connect, failureOf, logIn } from './fake-session.ts';

const HOUR_MS = 3600 * 1000;

/** All but those given are too long to end anything here. */
function only(timeouts: Partial<Pop3Timeouts>): Partial<Pop3Timeouts> {
  const long = { greetingMs: HOUR_MS, loginMs: HOUR_MS, commandMs: HOUR_MS, idleMs: HOUR_MS, sessionMs: 24 * HOUR_MS };
  return { ...long, ...timeouts };
}

/** A server that answers every command with +OK, and one of them as told. */
async function startServer(command: string, answer: (socket: Socket) => unknown) {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    if (command === 'greeting') answer(socket);
    else socket.write('+OK\r\n');
    socket.on('data', (line) => {
      if (line.toString().startsWith(command)) answer(socket);
      else socket.write('+OK\r\n');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port, sockets };
}

/** Says these octets over and over, as fast as the client takes them. */
async function pour(socket: Socket, start: string, lines: string): Promise<void> {
  const piece = Buffer.from(lines.repeat(Math.ceil(65_536 / lines.length)));
  socket.write(start);
  while (!socket.destroyed) await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  return () => void vi.useRealTimers();
});

describe('a server that sends an octet a second', () => {
  /** Seconds that it took until the work ended. Each octet is read by the client before the next second begins. */
  async function dribble(socket: Socket, text: string, work: Promise<Error>, seconds: number): Promise<number> {
    let ended = false;
    void work.then(() => (ended = true));
    for (let second = 1; second <= seconds; second += 1) {
      if (!socket.destroyed) await new Promise<void>((resolve) => socket.write(text, () => resolve()));
      for (let turns = 0; turns < 5; turns += 1) await nextTurn();
      vi.advanceTimersByTime(1000);
      for (let turns = 0; turns < 5; turns += 1) await nextTurn();
      if (ended) return second;
    }
    throw new Error(`It did not end within ${seconds} s`);
  }

  it.each<[string, string, Partial<Pop3Timeouts>, ((client: Pop3Client) => Promise<unknown>) | null]>([
    ['greeting', 'greeting', { greetingMs: 60_000 }, null],
    ['NOOP', 'list', { commandMs: 60_000 }, (client) => client.noop()],
    ['RETR', 'retrieve', { commandMs: 60_000 }, (client) => client.retrieve(1)],
    ['LIST', 'list', { commandMs: 60_000 }, (client) => client.list()],
    ['QUIT', 'quit', { quitMs: 60_000 }, (client) => client.quit()],
  ])('of the first line of %s has the time of the whole line', async (command, phase, timeouts, work) => {
    const begun = Promise.withResolvers<Socket>();
    const server = await startServer(command, (socket) => begun.resolve(socket));
    const client = work && (await logIn(server, {}, { timeouts: only(timeouts) }));
    const failure = failureOf(client ? work(client) : connect(server, {}, { timeouts: only(timeouts) }));
    const seconds = await dribble(await begun.promise, '+', failure, 70);
    expect(Math.abs(seconds - 60)).toBeLessThanOrEqual(1);
    expect(await failure).toBeInstanceOf(Pop3ConnectionError);
    expect(await failure).toMatchObject({ code: 'upstream_timeout', phase });
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each<[string, (client: Pop3Client) => Promise<unknown>]>([
    ['RETR', async (client) => readToEnd(await client.retrieve(1))],
    ['UIDL', (client) => client.uidl()],
  ])('of the body of %s has the time of the session, as it is never silent', async (command, work) => {
    const begun = Promise.withResolvers<Socket>();
    const server = await startServer(command, (socket) => {
      socket.write('+OK\r\n');
      begun.resolve(socket);
    });
    const timeouts = only({ commandMs: 5000, idleMs: 5000, sessionMs: 90_000 });
    const failure = failureOf(work(await logIn(server, {}, { timeouts })));
    const seconds = await dribble(await begun.promise, '\n', failure, 100);
    expect(Math.abs(seconds - 90)).toBeLessThanOrEqual(1);
    expect(await failure).toBeInstanceOf(Pop3ConnectionError);
    expect(await failure).toMatchObject({ code: 'upstream_timeout' });
    expect((await failure).message).toContain('took over 90 s');
    expect(vi.getTimerCount()).toBe(0);
  });
});

async function readToEnd(body: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0;
  for await (const chunk of body) bytes += chunk.length;
  return bytes;
}

describe('an answer without end', () => {
  it.each<[string, string, string, RegExp, (client: Pop3Client) => Promise<unknown>]>([
    ['LIST', '+OK\r\n', '1 1\r\n', /more than 1000000 lines/, (client) => client.list()],
    ['LIST', '+OK\r\n', '\r\n', /more than 1000000 lines/, (client) => client.list()],
    ['UIDL', '+OK\r\n', `1 ${'x'.repeat(2000)}\r\n`, /more than 104857600 octets/, (client) => client.uidl()],
    ['UIDL', '+OK\r\n1 ', 'x', /line of more than 2048 octets/, (client) => client.uidl()],
    ['CAPA', '+OK\r\n', 'X\r\n', /more than 256 lines/, (client) => client.capa()],
    ['LANG', '+OK\r\n', 'en English\r\n', /more than 256 lines/, (client) => client.languages()],
    ['NOOP', '', 'x', /status line of more than 4096 octets/, (client) => client.noop()],
    ['NOOP', '', '\r\n', /more than 16 blank lines/, (client) => client.noop()],
    ['DELE', '+OK', ' ', /status line of more than 4096 octets/, (client) => client.delete(1)],
  ])('to %s, %j and then %.12j for ever, ends the session at a bound', async (command, start, lines, bound, work) => {
    expect(maildropMessagesMax).toBe(1_000_000);
    expect(listingBytesMax).toBe(104_857_600);
    const server = await startServer(command, (socket) => pour(socket, start, lines));
    const client = await logIn(server, {}, { timeouts: only({}) });
    const failure = await failureOf(work(client));
    expect(failure).toBeInstanceOf(Pop3ProtocolError);
    expect(failure).toMatchObject({ code: 'upstream_protocol_error' });
    expect(failure.message).toMatch(bound);
    expect(client.state).toBe('closed');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('to RETR ends with the session deadline where somebody reads it', async () => {
    const server = await startServer('RETR', (socket) => pour(socket, '+OK\r\n', 'text\r\n'));
    const client = await logIn(server, {}, { timeouts: only({ sessionMs: 60_000 }) });
    let bytes = 0;
    const reading = async (): Promise<void> => {
      for await (const chunk of await client.retrieve(1)) {
        bytes += chunk.length;
        // A second for each 64 KiB or so.
        vi.advanceTimersByTime(Math.round((chunk.length / 65_536) * 1000));
      }
    };
    const failure = await failureOf(reading());
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_timeout', phase: 'retrieve' });
    expect(failure.message).toContain('The session with');
    expect(bytes).toBeGreaterThan(1024 * 1024);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('to RETR ends with the session deadline where nobody reads it, too', async () => {
    const server = await startServer('RETR', (socket) => pour(socket, '+OK\r\n', 'text\r\n'));
    const client = await logIn(server, {}, { timeouts: only({ idleMs: 1000, sessionMs: 60_000 }) });
    const body = await client.retrieve(1);
    // Until the client has stopped the server, and with it the idle deadline: that of the session is left.
    while (vi.getTimerCount() > 1) await nextTurn();
    // In whole seconds, less what connecting took.
    vi.advanceTimersByTime(58_000);
    expect(client.state).toBe('transaction');
    vi.advanceTimersByTime(2000);
    expect(client.state).toBe('closed');
    const failure = await failureOf(readToEnd(body));
    expect(failure).toMatchObject({ code: 'upstream_timeout', phase: 'retrieve' });
  });
});
