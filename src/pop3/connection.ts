/**
 * One socket and the session on it: writes commands, feeds the answers to the session, ends any wait by a deadline or the
 * abort signal, and stops the server while a consumer is slow. It knows no command's meaning.
 */
import type { Socket } from 'node:net';
import { toError } from '../errors.ts';
import type { BodySink, FlowControl, SocketRead } from './body.ts';
import { encodeCommand } from './command-line.ts';
import { Pop3ConnectionError, Pop3ProtocolError, type Pop3Phase } from './errors.ts';
import { bufferedBytesMax, timerMsMax, type Pop3Timeouts } from './limits.ts';
import type { StatusLine } from './replies.ts';
import { responseLineBytesMax } from './sasl/limits.ts';
import type { Secrets } from './secrets.ts';
import { Session, type Command, type Question } from './session.ts';
import type { WireEntry } from './settings.ts';

export interface ConnectionOptions {
  /** `host:port`, for messages. */
  place: string;
  timeouts: Readonly<Pop3Timeouts>;
  /** Milliseconds left of `timeouts.sessionMs`. */
  sessionMs: number;
  signal: AbortSignal | undefined;
  /** Taken out of all server text that is quoted. */
  secrets: Secrets;
  /** TLS was there from the first byte. */
  isImplicitTls: boolean;
  /** Octets of messages are handed out for a moment only, and their memory is then given back. */
  lendsChunks: boolean;
  onWire: ((entry: WireEntry) => void) | undefined;
  /** What a socket's error means where it is a TLS alert, which may come long after the handshake; else null. */
  readAlert(error: Error): Error | null;
}

interface SingleCommand {
  phase: Pop3Phase;
  /** Null for the greeting, which answers no command. */
  line: string | null;
  timeoutMs: number;
  /** Receives the body when the answer is +OK; absent for a single-line response. */
  body?: BodySink;
}

export class Connection implements FlowControl {
  readonly #options: ConnectionOptions;
  readonly #session: Session;
  #socket: Socket;
  #timer: NodeJS.Timeout | undefined;
  #timerMs = 0;
  /** What the running deadline is for. */
  #awaited: Command | Question | undefined;
  readonly #sessionTimer: NodeJS.Timeout | undefined;
  #isPaused = false;
  /** Octets of bodies that have come and that no consumer is done with. */
  #heldBytes = 0;
  /** The read that is being parsed. */
  #read: SocketRead = { chunk: Buffer.alloc(0), heldBytes: 0 };
  #isParsing = false;
  #isClosed = false;
  /** Why it is closed; null until somebody asks where nothing went wrong. */
  #failure: Error | null = null;
  #brokenOffBy: Error | null = null;

  constructor(socket: Socket, options: ConnectionOptions) {
    const { onWire, place, secrets, sessionMs, signal } = options;
    this.#options = options;
    this.#socket = socket;
    this.#session = new Session({
      place,
      secrets,
      ...(onWire && { onReceived: (what) => onWire({ from: 'server', ...this.#redact(what) }) }),
    });
    signal?.addEventListener('abort', this.#onAbort);
    this.#sessionTimer = startTimer(sessionMs, () => this.#breakOff(this.#sessionTimeout()));
    this.#attach(socket);
    if (signal?.aborted) this.#onAbort();
  }

  /**
   * Sends a command; resolves with the status line, +OK or -ERR, and leaves a body to the sink.
   * @throws Pop3CommandError (a line that cannot be sent), Pop3ConnectionError, Pop3ProtocolError, or the reason of the abort.
   */
  send({ phase, line, timeoutMs, body }: SingleCommand): Promise<StatusLine> {
    return new Promise((resolve, reject) => {
      const answer = (reply: StatusLine): BodySink | null => {
        resolve(reply);
        return reply.ok ? (body ?? null) : null;
      };
      const text = line === null ? '' : encodeCommand(line, phase);
      this.#write(text, [{ phase, timeoutMs, answer, fail: reject }]);
      if (line !== null) this.#options.onWire?.({ from: 'client', line });
      this.resume(); // A body that nobody reads must not hold up the answers behind it for ever.
    });
  }

  /**
   * Sends commands in one write, without waiting for the answers to those before (RFC 2449 §6.6). Whoever sends many takes
   * care that the server is never owed more than it may hold back.
   */
  sendAll(commands: readonly (Command & { readonly line: string })[]): void {
    this.#write(commands.map(({ line, phase }) => encodeCommand(line, phase)).join(''), commands);
    if (this.#options.onWire) for (const { line } of commands) this.#options.onWire({ from: 'client', line });
  }

  /**
   * Sends a line of a login; resolves with the line that answers it, be it a status line or a challenge (RFC 5034 §4).
   * @param secret the part of the line that no error and no log may show, should the server echo it.
   */
  ask(line: string, secret: string, timeoutMs: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const takeLine = (given: Buffer): void => {
        const answer = Buffer.from(given);
        resolve(answer);
        this.#options.onWire?.({ from: 'server', ...this.#redactAnswer(answer) });
      };
      const text = encodeCommand(line, 'login', responseLineBytesMax);
      this.#options.secrets.add(secret);
      this.#write(text, [{ phase: 'login', timeoutMs, takeLine, fail: reject }]);
      if (!this.#options.onWire) return;
      const shown = secret === '' ? line : line.replaceAll(secret, '[redacted]');
      this.#options.onWire({ from: 'client', line: shown });
    });
  }

  /** The work, unless it takes longer: then the connection ends, and with it what the work waits for. */
  async within<T>(timeoutMs: number, phase: Pop3Phase, work: () => Promise<T>): Promise<T> {
    const late = (): Error =>
      new Pop3ConnectionError(
        'upstream_timeout',
        phase,
        `${this.#options.place} took over ${timeoutMs / 1000} s for the ${phase}.`,
      );
    const timer = startTimer(timeoutMs, () => this.#breakOff(late()));
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Hands the socket over for a TLS handshake. Bytes behind the answer to STLS would be read as if they had come under
   * TLS: they are an attack (RFC 2595 §4, CVE-2011-0411) and end the connection.
   */
  handOver(): Socket {
    const { isBetweenReplies } = this.#session;
    if (!isBetweenReplies) this.fail(this.violation('more than its answer before the TLS handshake'));
    if (this.#isClosed) throw this.#explainEnd();
    this.#detach();
    return this.#socket;
  }

  /** Goes on with the socket that TLS made of the one handed over. */
  adopt(socket: Socket): void {
    if (this.#isClosed) socket.destroy();
    this.#socket = socket;
    this.#attach(socket);
  }

  /** Too much that waits stops the socket, and with it the server. */
  hold(bytes: number): SocketRead {
    this.#read.heldBytes += bytes;
    this.#heldBytes += bytes;
    if (this.#heldBytes > bufferedBytesMax && !this.#isPaused) {
      this.#isPaused = true;
      this.#awaitNothing();
      this.#socket.pause();
    }
    return this.#read;
  }

  release(bytes: number, read: SocketRead): void {
    this.#heldBytes -= bytes;
    read.heldBytes -= bytes;
    this.#reclaim(read);
    if (this.#heldBytes <= bufferedBytesMax / 2) this.resume();
  }

  resume(): void {
    if (!this.#isPaused || this.#isClosed) return;
    this.#isPaused = false;
    this.#awaitNext();
    this.#socket.resume();
  }

  /** Ends the connection at once; whoever waits gets the error. */
  fail(error: Error): void {
    if (this.#isClosed) return;
    this.#failure = error;
    this.close();
  }

  abandon(): void {
    this.close();
  }

  /** Closes a connection that is done with. Whoever waits still is told that it is over. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#awaitNothing();
    clearTimeout(this.#sessionTimer);
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#detach();
    this.#socket.destroy();
    if (this.#session.due) this.#session.fail(this.#explainEnd());
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The server hung up, fell silent or broke the protocol: neither this side nor its caller ended the connection. */
  get isBrokenOff(): boolean {
    return this.#brokenOffBy !== null;
  }

  /** It did so by answers that do not belong to what was asked. */
  get isOutOfStep(): boolean {
    return this.#brokenOffBy instanceof Pop3ProtocolError;
  }

  get phase(): Pop3Phase {
    return this.#session.phase;
  }

  /** Server text for an error: what was sent in secret is taken out of it. */
  quote(text: string): string {
    return this.#session.quote(text);
  }

  violation(what: string): Error {
    return this.#session.violation(what);
  }

  #breakOff(error: Error): void {
    if (!this.#isClosed) this.#brokenOffBy = error;
    this.fail(error);
  }

  /** An error is costly to make, and most sessions end well. */
  #explainEnd(): Error {
    const { place } = this.#options;
    this.#failure ??= new Pop3ConnectionError('upstream_closed', this.phase, `The session with ${place} is over.`);
    return this.#failure;
  }

  #write(text: string, commands: readonly (Command | Question)[]): void {
    if (this.#isClosed) {
      for (const command of commands) command.fail(this.#explainEnd());
      return;
    }
    for (const command of commands) this.#session.expect(command);
    if (text !== '') this.#socket.write(text);
    this.#awaitNext();
  }

  #attach(socket: Socket): void {
    socket.on('data', this.#onData).on('error', this.#onError).on('close', this.#onClose);
    if (socket.destroyed) this.#onClose(); // It closed before anybody listened here.
  }

  #detach(): void {
    this.#socket.off('data', this.#onData).off('error', this.#onError).off('close', this.#onClose);
  }

  readonly #onData = (chunk: Buffer): void => {
    const read = { chunk, heldBytes: 0 };
    this.#read = read;
    this.#isParsing = true;
    try {
      this.#session.push(chunk);
    } catch (error) {
      this.#breakOff(toError(error));
    }
    this.#isParsing = false;
    this.#reclaim(read);
    this.#awaitNext();
  };

  readonly #onError = (error: Error): void => {
    const { place, readAlert } = this.#options;
    const reset = (): Error =>
      new Pop3ConnectionError('upstream_closed', this.phase, `${place} reset the connection.`, { cause: error });
    this.#breakOff(readAlert(error) ?? this.#session.recogniseForeign() ?? reset());
  };

  readonly #onClose = (): void => {
    const isMidway = this.#session.isInBody || !this.#session.isBetweenReplies;
    const text = `${this.#options.place} closed the connection${isMidway ? ' in the middle of an answer' : ''}.`;
    const closed = (): Error => new Pop3ConnectionError('upstream_closed', this.phase, text, { fields: { isMidway } });
    this.#breakOff(this.#session.recogniseForeign() ?? closed());
  };

  readonly #onAbort = (): void => this.fail(toError(this.#options.signal?.reason));

  /** Memory that nobody looks at any more goes back at once, where that was agreed: the collector would let it pile up. */
  #reclaim(read: SocketRead): void {
    if (!this.#options.lendsChunks || read.heldBytes > 0 || (this.#isParsing && read === this.#read)) return;
    const { buffer, byteLength } = read.chunk;
    // A read has memory of its own; what was put back in front of it, as behind a proxy's answer, may share it.
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
  }

  /** Sets the deadline of what is due next: the first line of an answer, whole, or more of a body. */
  #awaitNext(): void {
    const { due, isInBody } = this.#session;
    if (this.#isPaused || this.#isClosed) return this.#awaitNothing();
    if (!due || (!isInBody && due === this.#awaited)) return; // Between commands the timer runs out for nobody.
    this.#awaited = isInBody ? undefined : due;
    const timeoutMs = isInBody ? this.#options.timeouts.idleMs : due.timeoutMs;
    if (this.#timer && this.#timerMs === timeoutMs) return void this.#timer.refresh();
    clearTimeout(this.#timer);
    this.#timerMs = timeoutMs;
    this.#timer = startTimer(timeoutMs, () => this.#expire(timeoutMs));
  }

  #expire(timeoutMs: number): void {
    this.#timer = undefined;
    if (this.#session.due) this.#breakOff(this.#session.recogniseForeign() ?? this.#timeout(timeoutMs));
  }

  #awaitNothing(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#awaited = undefined;
  }

  #timeout(timeoutMs: number): Pop3ConnectionError {
    const { isImplicitTls, place } = this.#options;
    const { isBetweenReplies, isInBody, phase } = this.#session;
    const hint =
      phase !== 'greeting' || isImplicitTls
        ? ''
        : ' A server that expects TLS from the first byte waits like this: set tls to "implicit" if the port is such a one (mostly 995).';
    const what = isBetweenReplies || isInBody ? 'was silent for' : 'did not come to the end of a line within';
    return new Pop3ConnectionError('upstream_timeout', phase, `${place} ${what} ${timeoutMs / 1000} s.${hint}`);
  }

  #sessionTimeout(): Pop3ConnectionError {
    const { place, timeouts } = this.#options;
    const seconds = timeouts.sessionMs / 1000;
    return new Pop3ConnectionError('upstream_timeout', this.phase, `The session with ${place} took over ${seconds} s.`);
  }

  #redact(what: { line: string } | { bodyBytes: number }): { line: string } | { bodyBytes: number } {
    return 'line' in what ? { line: this.quote(what.line).slice(1, -1) } : what;
  }

  /** A challenge, and whatever it may hold, is nobody's business; a status line is a line like any other. */
  #redactAnswer(answer: Buffer): { line: string } {
    const line = answer.toString('utf8');
    return /^[^\w]*(?:\+OK|-ERR)/i.test(line) ? { line: this.quote(line).slice(1, -1) } : { line: '+ [redacted]' };
  }
}

/** Undefined where the time is longer than a timer can be. */
function startTimer(timeoutMs: number, expire: () => void): NodeJS.Timeout | undefined {
  return timeoutMs > timerMsMax ? undefined : setTimeout(expire, timeoutMs);
}
