/**
 * A SOCKS5 or HTTP CONNECT proxy to test against. Whatever host it is asked for, it connects to that port on 127.0.0.1, and
 * records what it was asked for. A liar answers each read with the next of its lines, whatever was asked.
 */

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

export interface ProxyOptions {
  readonly kind: 'socks5' | 'http';
  /** Asked for where set. */
  readonly account?: { readonly user: string; readonly password: string };
  /** The SOCKS status or HTTP status of a refusal, by the host asked for; undefined lets it through. */
  readonly refuse?: (host: string) => number | undefined;
  /** Holds its last answer back until the target has spoken, and sends both in one write. */
  readonly joinGreeting?: boolean;
  /** Sends its answers byte by byte. */
  readonly dribble?: boolean;
  /** PEM. With it TLS is expected from the first byte. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface TestProxy {
  readonly port: number;
  /** `host:port` of each tunnel asked for, as the client wrote it. */
  readonly targets: readonly string[];
  readonly openSockets: number;
  /** Resolves when no client is connected. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

/** Serves one client. */
type Handler = (socket: Socket, targets: string[]) => Promise<void>;

export function startProxy(options: ProxyOptions): Promise<TestProxy> {
  const serve: Handler = options.kind === 'socks5' ? serveSocks : serveHttp;
  return listen(serve, options.tls);

  async function serveSocks(socket: Socket, targets: string[]): Promise<void> {
    const [, count = 0] = await read(socket, 2);
    const methods = [...(await read(socket, count))];
    const method = options.account ? 2 : 0;
    if (!methods.includes(method)) return void socket.end(Buffer.from([5, 0xff]));
    await send(socket, Buffer.from([5, method]));
    if (options.account) {
      const [, userLength = 0] = await read(socket, 2);
      const user = (await read(socket, userLength)).toString();
      const [passwordLength = 0] = await read(socket, 1);
      const password = (await read(socket, passwordLength)).toString();
      const known = user === options.account.user && password === options.account.password;
      await send(socket, Buffer.from([1, known ? 0 : 1]));
      if (!known) return void socket.end();
    }
    const [, , , kind = 0] = await read(socket, 4);
    const [length = 0] = kind === 3 ? await read(socket, 1) : [kind === 1 ? 4 : 16];
    const address = await read(socket, length);
    const host =
      kind === 3
        ? address.toString()
        : kind === 1
          ? address.join('.')
          : (address.toString('hex').match(/.{4}/g) ?? []).join(':');
    const port = (await read(socket, 2)).readUInt16BE();
    targets.push(`${host}:${port}`);
    const status = options.refuse?.(host) ?? 0;
    const answer = Buffer.from([5, status, 0, 1, 0, 0, 0, 0, 0, 0]);
    if (status === 0) await tunnel(socket, port, answer);
    else socket.end(answer.subarray(0, 2));
  }

  async function serveHttp(socket: Socket, targets: string[]): Promise<void> {
    let head = '';
    while (!head.endsWith('\r\n\r\n')) head += (await read(socket, 1)).toString('latin1');
    const [, host = '', port = ''] = /^CONNECT (\S+):(\d+) HTTP\/1\.1\r\n/.exec(head) ?? [];
    targets.push(`${host}:${port}`);
    const login = /^Proxy-Authorization: Basic (\S+)/im.exec(head)?.[1] ?? '';
    const { account } = options;
    const known = !account || Buffer.from(login, 'base64').toString() === `${account.user}:${account.password}`;
    const status = known ? options.refuse?.(host) : 407;
    if (status !== undefined) return void socket.end(`HTTP/1.1 ${status} Not "here" ${login}\r\n\r\nsome <html>`);
    await tunnel(socket, Number(port), Buffer.from('HTTP/1.0 200 Connection established\r\nVia: test\r\n\r\n'));
  }

  async function tunnel(socket: Socket, port: number, answer: Buffer): Promise<void> {
    const target = connect({ port, host: '127.0.0.1', noDelay: true });
    target.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('close', () => target.destroy());
    await once(target, 'connect');
    if (options.joinGreeting) {
      const [greeting] = (await once(target, 'data')) as [Buffer];
      socket.write(Buffer.concat([answer, greeting]));
    } else {
      await send(socket, answer);
    }
    socket.pipe(target).pipe(socket);
  }

  async function send(socket: Socket, bytes: Buffer): Promise<void> {
    const step = options.dribble ? 1 : bytes.length;
    for (let start = 0; start < bytes.length; start += step) {
      await new Promise((resolve) => socket.write(bytes.subarray(start, start + step), resolve));
      await new Promise(setImmediate);
    }
  }
}

/** Each read is answered with the next line; null closes, and where there is none the liar is silent. */
export function startLiar(lines: readonly (Buffer | string | null)[]): Promise<TestProxy> {
  return listen(async (socket) => {
    for (const line of lines) {
      await once(socket, 'data');
      if (line === null) socket.end();
      else socket.write(line);
    }
    socket.resume();
  });
}

async function listen(serve: Handler, tls?: ProxyOptions['tls']): Promise<TestProxy> {
  const targets: string[] = [];
  const sockets = new Set<Socket>();
  const accept = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    // A client that goes away ends its handler with an error.
    serve(socket, targets).catch(() => socket.destroy());
  };
  const server: Server = tls ? createTlsServer(tls, accept) : createServer({ noDelay: true }, accept);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    targets,
    get openSockets() {
      return sockets.size;
    },
    async idle() {
      const signal = AbortSignal.timeout(5_000);
      for (const socket of sockets) await once(socket, 'close', { signal });
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function read(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes = length === 0 ? Buffer.alloc(0) : (socket.read(length) as Buffer | null);
    if (bytes !== null && bytes.length < length) throw new Error('the client went away');
    if (bytes) return bytes;
    if (socket.readableEnded || socket.destroyed) throw new Error('the client went away');
    await once(socket, 'readable');
  }
}
