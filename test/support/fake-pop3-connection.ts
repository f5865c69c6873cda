/** One connection to the fake POP3 server: reads lines, asks the script, answers in pieces, goes over to TLS. */

import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { multiline, Transaction } from '../../src/sandbox/transaction.ts';
import type { Mail } from '../../src/sandbox/transaction.ts';
import { toBytes, toStep } from './fake-pop3-script.ts';
import type { FakeSession, Reply, Script } from './fake-pop3-script.ts';

/** What the connections of one server have in common. */
export interface FakeServer {
  readonly greeting: Reply | null;
  readonly capabilities: readonly string[];
  readonly account: { readonly user: string; readonly password: string } | undefined;
  readonly chunkBytes: number;
  readonly script: Script;
  readonly tls: { readonly key: string; readonly cert: string } | undefined;
  readonly implicitTls: boolean;
  mails: readonly Mail[];
  lineReceived(session: FakeSession, line: string): void;
  /** Resolves when the line may be answered. */
  mayAnswer(line: string): Promise<void>;
  /** A handler threw: the connection is cut, and the test should hear of it. */
  failed(error: unknown): void;
}

export class FakeConnection implements FakeSession {
  readonly connection: number;
  tls = false;
  readonly #server: FakeServer;
  readonly #raw: Socket;
  #stream: Socket;
  #pending = '';
  #lines: string[] = [];
  #answering = false;
  /** Nothing is said any more. */
  #mute = false;
  #user = '';
  #transaction: Transaction | undefined;

  constructor(server: FakeServer, socket: Socket, connection: number) {
    this.#server = server;
    this.#raw = socket;
    this.#stream = socket;
    this.connection = connection;
    // A client that resets the connection is an everyday thing here; `close` follows.
    socket.on('error', () => {});
  }

  get authenticated(): boolean {
    return this.#transaction !== undefined;
  }

  logIn(): void {
    this.#transaction = new Transaction(this.#server.mails);
  }

  start(): void {
    this.#greet().catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    this.#server.failed(error);
    this.#raw.destroy();
  }

  async #greet(): Promise<void> {
    const { implicitTls, greeting } = this.#server;
    // What a hasty client sends is answered after the greeting.
    this.#answering = true;
    if (implicitTls) await this.#startTls();
    else this.#listen();
    if (greeting !== null) await this.#send(greeting);
    this.#answering = false;
    await this.#answerLines();
  }

  #listen(): void {
    this.#stream.on('data', (chunk: Buffer) => {
      this.#receive(chunk);
      this.#answerLines().catch((error: unknown) => this.#fail(error));
    });
  }

  #receive(chunk: Buffer): void {
    const lines = (this.#pending + chunk.toString('latin1')).split('\n');
    this.#pending = lines.pop() ?? '';
    for (const bytes of lines) {
      const line = Buffer.from(bytes, 'latin1').toString().replace(/\r$/, '');
      this.#lines.push(line);
      this.#server.lineReceived(this, line);
    }
  }

  async #answerLines(): Promise<void> {
    if (this.#answering) return;
    this.#answering = true;
    for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) {
      await this.#server.mayAnswer(line);
      if (!this.#mute) await this.#send(await this.#decide(line));
    }
    this.#answering = false;
  }

  async #decide(line: string): Promise<Reply> {
    const { script } = this.#server;
    const [word = ''] = line.split(' ', 1);
    const args = line.slice(word.length + 1);
    const handler = script[line.toUpperCase()] ?? script[word.toUpperCase()] ?? script['*'];
    return (await handler?.(args, this)) ?? this.#answer(word.toUpperCase(), args);
  }

  /** What a correct server says. */
  #answer(keyword: string, args: string): Reply {
    const { account, capabilities, tls } = this.#server;
    const offersTls = tls !== undefined && !this.tls;
    switch (keyword) {
      case 'CAPA':
        return multiline('', Buffer.from([...capabilities, ...(offersTls ? ['STLS'] : []), ''].join('\r\n')));
      case 'STLS':
        return offersTls ? { bytes: '+OK begin TLS', after: 'tls' } : '-ERR no TLS here';
      case 'USER':
        this.#user = args;
        return '+OK';
      case 'PASS':
        if (account !== undefined && (this.#user !== account.user || args !== account.password)) {
          return '-ERR [AUTH] wrong user name or password';
        }
        this.logIn();
        return '+OK logged in';
      case 'QUIT': {
        const marked = this.#transaction?.marked ?? [];
        this.#server.mails = this.#server.mails.filter((mail) => !marked.includes(mail));
        return { bytes: '+OK bye', after: 'close' };
      }
      default:
        if (this.#transaction === undefined) return '-ERR log in first';
        return this.#transaction.answer(keyword, args.split(' ').filter(Boolean)) ?? '-ERR no such command';
    }
  }

  async #send(reply: Reply): Promise<void> {
    const { bytes, after } = toStep(reply);
    await this.#write(toBytes(bytes));
    switch (after) {
      case 'close':
        this.#mute = true;
        this.#stream.end();
        break;
      case 'reset':
        this.#mute = true;
        this.#raw.resetAndDestroy();
        break;
      case 'silence':
        this.#mute = true;
        break;
      case 'tls':
        await this.#startTls();
        break;
      case undefined:
        break;
    }
  }

  /** Waits out a turn of the event loop after each piece, so that a client in the same process reads it alone. */
  async #write(bytes: Buffer): Promise<void> {
    const { chunkBytes } = this.#server;
    for (let start = 0; start < bytes.length && !this.#stream.destroyed; start += chunkBytes) {
      const piece = bytes.subarray(start, start + chunkBytes);
      await new Promise<void>((resolve) => this.#stream.write(piece, () => resolve()));
      await nextTurn();
    }
  }

  /** Resolves when TLS is up, or when the connection is gone because it could not be. */
  async #startTls(): Promise<void> {
    // What came in the clear after STLS is not to be believed (RFC 2595 section 4): it is recorded, and not answered.
    this.#pending = '';
    this.#lines = [];
    if (this.#raw.destroyed) return;
    this.#raw.removeAllListeners('data');
    const stream = await new Promise<TLSSocket | undefined>((resolve) => {
      const server = createTlsServer({ ...this.#server.tls }, resolve);
      server.on('tlsClientError', () => this.#raw.destroy());
      this.#raw.once('close', () => resolve(undefined));
      server.emit('connection', this.#raw);
    });
    if (stream === undefined) return;
    stream.on('error', () => {});
    this.tls = true;
    this.#stream = stream;
    this.#listen();
  }
}
