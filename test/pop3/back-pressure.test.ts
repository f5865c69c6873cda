import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { MessageBody } from '../../src/pop3/body.ts';
import { Connection } from '../../src/pop3/connection.ts';
import { bufferedBytesMax, defaultTimeouts } from '../../src/pop3/limits.ts';
import { Secrets } from '../../src/pop3/secrets.ts';
import { logIn, readAll } from './fake-session.ts';

const MB = 1024 * 1024;

/** A server that answers every command with +OK, and RETR with as much as is wanted of it, as fast as it can. */
async function startPusher(bodyBytes: number) {
  const line = Buffer.from(`${'x'.repeat(1022)}\r\n`);
  const piece = Buffer.concat(Array.from({ length: 64 }, () => line));
  const progress = { takenBytes: 0 };
  async function push(socket: Socket): Promise<void> {
    for (let sent = 0; sent < bodyBytes; sent += piece.length) {
      if (!socket.write(piece)) await once(socket, 'drain');
      progress.takenBytes = sent + piece.length;
    }
    socket.write('.\r\n');
  }
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write('+OK\r\n');
    socket.on('data', (chunk) => {
      socket.write('+OK\r\n');
      if (chunk.toString().startsWith('RETR')) push(socket).catch(() => socket.destroy());
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port, progress };
}

/** Resolves when the number has stayed as it is for a while. */
async function standstill(progress: { takenBytes: number }): Promise<number> {
  for (let before = -1, still = 0; still < 10; before = progress.takenBytes) {
    await delay(10);
    still = progress.takenBytes === before ? still + 1 : 0;
  }
  return progress.takenBytes;
}

describe('a consumer that does not read', () => {
  it('stops the server, without a deadline running meanwhile, and gets all of the mail when it reads', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const server = await startPusher(64 * MB);
    const timeouts = { sessionMs: Number.POSITIVE_INFINITY };
    const client = await logIn(server, {}, { timeouts });
    const before = process.memoryUsage().arrayBuffers;
    const body = await client.retrieve(1);
    // The rest of it is in the kernel's buffers.
    expect(await standstill(server.progress)).toBeLessThan(32 * MB);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * MB);
    expect(vi.getTimerCount()).toBe(0);
    vi.advanceTimersByTime(24 * 3600 * 1000);
    let bytes = 0;
    for await (const chunk of body) bytes += chunk.length;
    expect(bytes).toBe(64 * MB);
    expect(await client.quit()).toBe(true);
  });

  it('midway stops the server as well', async () => {
    const server = await startPusher(64 * MB);
    const client = await logIn(server);
    const body = (await client.retrieve(1))[Symbol.asyncIterator]();
    let bytes = 0;
    while (bytes < 2 * MB) bytes += (await body.next()).value?.length ?? 0;
    expect(await standstill(server.progress)).toBeLessThan(32 * MB);
    await body.return?.();
  });
});

describe('a body', () => {
  function open() {
    const [near, far] = duplexPair();
    // A read gives what one write put in, and there is no kernel between that would cut it.
    const connection = new Connection(near as Socket, {
      place: 'the test',
      timeouts: defaultTimeouts,
      sessionMs: Number.POSITIVE_INFINITY,
      signal: undefined,
      secrets: new Secrets([], []),
      isImplicitTls: false,
      lendsChunks: false,
      onWire: undefined,
      readAlert: () => null,
    });
    onTestFinished(() => connection.close());
    const body = new MessageBody(connection);
    return { connection, body, far };
  }

  it('whose end lies in the very read that fills the buffer does not block the next command', async () => {
    const { connection, body, far } = open();
    const mail = Buffer.from(`${'x'.repeat(bufferedBytesMax)}\r\n`);
    const retrieved = connection.send({ phase: 'retrieve', line: 'RETR 1', timeoutMs: 1000, body });
    far.write(Buffer.concat([Buffer.from('+OK\r\n'), mail, Buffer.from('.\r\n')]));
    await retrieved;
    expect((await readAll(body)).equals(mail)).toBe(true);
    const next = connection.send({ phase: 'delete', line: 'DELE 1', timeoutMs: 1000 });
    far.write('+OK\r\n');
    expect((await next).ok).toBe(true);
  });

  it('cut into slices of a few bytes by its dots comes out in pieces worth a turn', async () => {
    const { connection, body, far } = open();
    const retrieved = connection.send({ phase: 'retrieve', line: 'RETR 1', timeoutMs: 1000, body });
    far.write(`+OK\r\n${'..\r\n'.repeat(10_000)}.\r\n`);
    await retrieved;
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toBe('.\r\n'.repeat(10_000));
    expect(chunks.length).toBeLessThan(10);
  });

  it('hands out what had come before it breaks off, and then the failure', async () => {
    const { connection, body, far } = open();
    const retrieved = connection.send({ phase: 'retrieve', line: 'RETR 1', timeoutMs: 1000, body });
    far.write('+OK\r\nhalf a');
    await retrieved;
    connection.fail(new Error('broken'));
    const chunks: Buffer[] = [];
    const reading = (async () => {
      for await (const chunk of body) chunks.push(chunk);
    })();
    await expect(reading).rejects.toThrow('broken');
    expect(Buffer.concat(chunks).toString()).toBe('half a');
  });
});
