/**
 * A POP3 client with nothing between the test and the socket: for testing servers, not popbridge.
 *
 * It knows lines and multi-line ends, and nothing of commands or states.
 */

import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface RawPop3Options {
  readonly host?: string;
  readonly port: number;
  /** The CA to verify against as `localhost`: given, the connection begins with TLS. */
  readonly ca?: string;
  /** What the client shows in the TLS handshake. PEM. */
  readonly certificate?: { readonly cert: string; readonly key: string };
}

export class RawPop3 {
  #socket: Socket;
  #chunks: AsyncIterator<Buffer>;
  #pending = Buffer.alloc(0);
  /** How many bytes each read of the socket gave. */
  readonly readSizes: number[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#chunks = socket.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  }

  static async open({ host = '127.0.0.1', port, ca, certificate }: RawPop3Options): Promise<RawPop3> {
    const socket =
      ca === undefined
        ? connectTcp({ host, port })
        : connectTls({ host, port, ca, servername: 'localhost', ...certificate });
    await once(socket, ca === undefined ? 'connect' : 'secureConnect');
    return new RawPop3(socket);
  }

  /** Goes over to TLS on the same connection, after the server has agreed. */
  async startTls(ca: string): Promise<void> {
    const secure = connectTls({ socket: this.#socket, ca, servername: 'localhost' });
    await once(secure, 'secureConnect');
    this.#socket = secure;
    this.#chunks = secure.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  }

  write(bytes: string | Buffer): void {
    this.#socket.write(bytes);
  }

  /** One command and the first line of its reply. */
  async send(line: string): Promise<string> {
    this.write(`${line}\r\n`);
    return this.readLine();
  }

  /** One command, the first line of its reply, and the bytes that follow it up to the dot, dots unstuffed. */
  async sendMultiline(line: string): Promise<{ status: string; body: Buffer }> {
    const status = await this.send(line);
    return { status, body: status.startsWith('+OK') ? await this.readBody() : Buffer.alloc(0) };
  }

  /** Without its line end. Throws when the connection ends before it. */
  async readLine(): Promise<string> {
    return (await this.#readLineBytes()).toString('latin1');
  }

  async readBody(): Promise<Buffer> {
    const lines: Buffer[] = [];
    for (;;) {
      const line = await this.#readLineBytes();
      if (line.equals(Buffer.from('.'))) return Buffer.concat(lines);
      lines.push(line[0] === 0x2e ? line.subarray(1) : line, Buffer.from('\r\n'));
    }
  }

  /** What is still to come, up to the end of the connection. Throws when the connection is reset. */
  async readToEnd(): Promise<Buffer> {
    while (await this.#fill());
    return this.#pending;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #readLineBytes(): Promise<Buffer> {
    let end = this.#pending.indexOf('\r\n');
    while (end === -1) {
      if (!(await this.#fill()))
        throw new Error(`The connection ended after ${JSON.stringify(String(this.#pending))}.`);
      end = this.#pending.indexOf('\r\n');
    }
    const line = this.#pending.subarray(0, end);
    this.#pending = this.#pending.subarray(end + 2);
    return line;
  }

  async #fill(): Promise<boolean> {
    const next = await this.#chunks.next();
    if (next.done === true) return false;
    this.readSizes.push(next.value.length);
    this.#pending = Buffer.concat([this.#pending, next.value]);
    return true;
  }
}
