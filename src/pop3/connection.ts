/**
 * Commands and responses on one socket: each command is matched with its response in order (RFC 1939 §3), deadlines and
 * the abort signal end any wait, and a slow consumer pauses the socket. It knows no command's meaning.
 */
import type { Socket } from 'node:net';
import { toError } from '../errors.ts';
import { Pop3ConnectionError, Pop3ProtocolError, type Pop3Error, type Pop3Phase } from './errors.ts';
import type { BodySink, FlowControl } from './body.ts';
import { recogniseProtocol } from './foreign-protocol.ts';
import { bufferedBytesMax, commandBytesMax, type Pop3Timeouts } from './limits.ts';
import { parseStatusLine, quoteServerText, type StatusLine } from './replies.ts';
import { responseLineBytesMax } from './sasl/limits.ts';
import { ReplyParser, type ReplyHandler } from './reply-parser.ts';

export interface ConnectionOptions {
  /** `host:port`, for messages. */
  place: string;
  timeouts: Readonly<Pop3Timeouts>;
  signal: AbortSignal;
  /** Taken out of all server text that is quoted. */
  secrets: readonly string[];
  /** TLS was there from the first byte. */
  isImplicitTls: boolean;
  /** What a socket's error means where it is a TLS alert, which may come long after the handshake; else null. */
  readAlert(error: Error): Error | null;
}

export interface Command {
  phase: Pop3Phase;
  /** Null for the greeting, which answers no command. */
  line: string | null;
  timeoutMs: number;
  /** Receives the body when the answer is +OK; absent for a single-line response. */
  body?: BodySink;
  /** Takes the answering line, whatever it is, in place of its being read as a status line. */
  takeLine?(line: Buffer): void;
}

interface Pending extends Command {
  resolve(reply: StatusLine): void;
  reject(error: Error): void;
  answered: boolean;
}

/** Stands for a line that was taken as it came. */
const TAKEN: StatusLine = { ok: true, line: '', responseCode: null, text: '' };

export class Connection implements ReplyHandler, FlowControl {
  readonly #options: ConnectionOptions;
  readonly #parser: ReplyParser;
  #socket: Socket;
  /** Commands whose response is not complete, in the order in which they were sent. */
  #pending: Pending[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #secrets: string[];
  #paused = false;
  /** Octets of bodies that have come and that no consumer has taken yet. */
  #heldBytes = 0;
  #failure: Error | undefined;
  #greeted = false;
  #isBrokenOff = false;
  /** Of the latest command, for what goes wrong between commands. */
  #latestPhase: Pop3Phase = 'greeting';

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#options = options;
    this.#parser = new ReplyParser(this);
    this.#socket = socket;
    this.#secrets = [...options.secrets];
    options.signal.addEventListener('abort', this.#onAbort);
    if (options.signal.aborted) this.#onAbort();
    this.#attach(socket);
  }

  /**
   * Sends a command; resolves with the status line, +OK or -ERR, and leaves a body to the sink.
   * @throws Pop3ConnectionError, Pop3ProtocolError, or the reason of the abort.
   */
  async send(command: Command): Promise<StatusLine> {
    const [reply] = this.sendAll([command]);
    this.resume(); // A body that nobody reads must not hold up the answers behind it for ever.
    return reply ?? Promise.reject(new Error('A command without an answer'));
  }

  /**
   * Sends commands in one write, without waiting for the answers to those before (RFC 2449 §6.6); one promise for each,
   * as of `send`. Whoever sends many takes care that the server is never owed more than it may hold back.
   */
  sendAll(commands: readonly Command[]): Promise<StatusLine>[] {
    const { length: before } = this.#pending;
    const replies = commands.map((command) => this.#expect(command));
    const lines = commands.flatMap(({ line, phase }) => (line === null ? [] : [encodeCommand(line, phase)]));
    if (!this.#failure) {
      if (lines.length > 0) this.#socket.write(lines.join(''));
      if (before === 0) this.#armTimer();
    }
    return replies;
  }

  /**
   * Sends a line of a login; resolves with the line that answers it, be it a status line or a challenge (RFC 5034 §4).
   * @param secret the part of the line that no error may show, should the server echo it.
   */
  async ask(line: string, secret: string, timeoutMs: number): Promise<Buffer> {
    if (secret !== '') this.#secrets.push(secret);
    const text = encodeCommand(line, 'login', responseLineBytesMax);
    let answer = Buffer.alloc(0);
    const takeLine = (given: Buffer): void => {
      answer = Buffer.from(given);
    };
    const answered = this.#expect({ phase: 'login', line, timeoutMs, takeLine });
    if (!this.#failure) {
      this.#socket.write(text);
      this.#armTimer();
    }
    await answered;
    return answer;
  }

  /**
   * Hands the socket over for a TLS handshake. Bytes behind the answer to STLS would be read as if they had come under
   * TLS: they are an attack (RFC 2595 §4, CVE-2011-0411) and end the connection.
   */
  release(): Socket {
    if (!this.#parser.isBetweenReplies) this.fail(this.violation('more than its answer before the TLS handshake'));
    if (this.#failure) throw this.#failure;
    this.#detach();
    return this.#socket;
  }

  /** Goes on with the socket that TLS made of the one released. */
  adopt(socket: Socket): void {
    if (this.#failure) socket.destroy();
    this.#socket = socket;
    this.#attach(socket);
  }

  /** So many octets more wait for a consumer. Too many pause the socket, and with it the server. */
  hold(bytes: number): void {
    this.#heldBytes += bytes;
    if (this.#heldBytes <= bufferedBytesMax || this.#paused) return;
    this.#paused = true;
    clearTimeout(this.#timer);
    this.#socket.pause();
  }

  /** A consumer has taken so many of them. */
  take(bytes: number): void {
    this.#heldBytes -= bytes;
    if (this.#heldBytes <= bufferedBytesMax / 2) this.resume();
  }

  resume(): void {
    if (!this.#paused || this.#failure) return;
    this.#paused = false;
    this.#armTimer();
    this.#socket.resume();
  }

  /** Ends the connection at once; whoever waits gets the error. */
  fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    clearTimeout(this.#timer);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#detach();
    this.#socket.destroy();
    for (const pending of this.#pending.splice(0)) {
      if (pending.answered) pending.body?.fail(error);
      else pending.reject(error);
    }
  }

  abandon(): void {
    this.close();
  }

  /** Closes a connection that is done with. */
  close(): void {
    this.fail(
      new Pop3ConnectionError('upstream_closed', this.#phase(), `The session with ${this.#options.place} is over.`),
    );
  }

  status(line: Buffer): boolean {
    const pending = this.#pending[0];
    if (pending?.takeLine) {
      this.#pending.shift();
      pending.takeLine(line);
      pending.resolve(TAKEN);
      return false;
    }
    const reply = parseStatusLine(line);
    if (!pending) throw this.#protocolError('the server spoke out of turn', line);
    if (!reply) throw this.#notPop3(pending.phase, line);
    this.#greeted = true;
    pending.answered = true;
    const hasBody = reply.ok && pending.body !== undefined;
    if (!hasBody) this.#pending.shift();
    pending.resolve(reply);
    return hasBody;
  }

  data(chunk: Buffer): void {
    this.#pending[0]?.body?.data(chunk);
  }

  end(): void {
    this.#pending.shift()?.body?.end();
  }

  /** Server text for an error: what was sent in secret is taken out of it. */
  quote(text: string): string {
    return quoteServerText(text, this.#secrets);
  }

  /** The server hung up, fell silent or broke the protocol: neither this side nor its caller ended the connection. */
  get isBrokenOff(): boolean {
    return this.#isBrokenOff;
  }

  #breakOff(error: Error): void {
    this.#isBrokenOff ||= this.#failure === undefined;
    this.fail(error);
  }

  violation(what: string): Error {
    return new Pop3ProtocolError('upstream_protocol_error', this.#phase(), `${this.#options.place} sent ${what}.`);
  }

  #expect(command: Command): Promise<StatusLine> {
    const { promise, resolve, reject } = Promise.withResolvers<StatusLine>();
    if (this.#failure) reject(this.#failure);
    else this.#pending.push({ ...command, resolve, reject, answered: false });
    this.#latestPhase = command.phase;
    return promise;
  }

  #attach(socket: Socket): void {
    socket.on('data', this.#onData).on('error', this.#onError).on('close', this.#onClose);
    if (socket.destroyed) this.#onClose(); // It closed before anybody listened here.
  }

  #detach(): void {
    this.#socket.off('data', this.#onData).off('error', this.#onError).off('close', this.#onClose);
  }

  readonly #onData = (chunk: Buffer): void => {
    try {
      this.#parser.push(chunk);
    } catch (error) {
      this.#breakOff(toError(error));
    }
    this.#armTimer();
  };

  readonly #onError = (error: Error): void => {
    const { place, readAlert } = this.#options;
    const reset = (): Error =>
      new Pop3ConnectionError('upstream_closed', this.#phase(), `${place} reset the connection.`, { cause: error });
    this.#breakOff(readAlert(error) ?? this.#foreign() ?? reset());
  };

  readonly #onClose = (): void => {
    const closed = `${this.#options.place} closed the connection.`;
    this.#breakOff(this.#foreign() ?? new Pop3ConnectionError('upstream_closed', this.#phase(), closed));
  };

  readonly #onAbort = (): void => this.fail(toError(this.#options.signal.reason));

  /** The deadline of what is due next: the beginning of an answer, or more of one that has begun. */
  #armTimer(): void {
    clearTimeout(this.#timer);
    const due = this.#pending[0];
    if (!due || this.#paused || this.#failure) return;
    const timeoutMs = due.answered || !this.#parser.isBetweenReplies ? this.#options.timeouts.idleMs : due.timeoutMs;
    this.#timer = setTimeout(() => this.#breakOff(this.#foreign() ?? this.#timeoutError(timeoutMs)), timeoutMs);
  }

  #timeoutError(timeoutMs: number): Pop3ConnectionError {
    const { place } = this.#options;
    const phase = this.#phase();
    const hint =
      phase !== 'greeting' || this.#options.isImplicitTls
        ? ''
        : ' A server that expects TLS from the first byte waits like this: set tls to "implicit" if the port is such a one (mostly 995).';
    return new Pop3ConnectionError('upstream_timeout', phase, `${place} was silent for ${timeoutMs / 1000} s.${hint}`);
  }

  #phase(): Pop3Phase {
    return this.#pending[0]?.phase ?? this.#latestPhase;
  }

  /** What a server has said that never came to the end of a greeting. */
  #foreign(): Pop3Error | null {
    const bytes = this.#parser.partialLine;
    return this.#greeted || !recogniseProtocol(bytes) ? null : this.#notPop3('greeting', bytes);
  }

  #notPop3(phase: Pop3Phase, line: Buffer): Pop3Error {
    if (this.#greeted) return this.#protocolError('the answer begins neither with +OK nor with -ERR', line);
    const { place } = this.#options;
    const foreign = recogniseProtocol(line);
    const message = foreign
      ? `${place} is no POP3 server but speaks ${foreign.name}: ${foreign.advice}.`
      : `${place} is no POP3 server. It greets with ${this.quote(line.toString('utf8'))}.`;
    return new Pop3ProtocolError('upstream_not_pop3', phase, message);
  }

  #protocolError(what: string, line: Buffer): Pop3ProtocolError {
    const quoted = this.quote(line.toString('utf8'));
    const message = `${this.#options.place}: ${what}: ${quoted}.`;
    return new Pop3ProtocolError('upstream_protocol_error', this.#phase(), message);
  }
}

/**
 * CR, LF and NUL would end the line or smuggle another command: refused before a byte is sent.
 * @throws Pop3ProtocolError, which quotes nothing of the line.
 */
export function encodeCommand(line: string, phase: Pop3Phase, lineBytesMax = commandBytesMax): string {
  if (/[\r\n\0]/.test(line)) {
    throw new Pop3ProtocolError('upstream_protocol_error', phase, 'A command argument holds a CR, LF or NUL.');
  }
  if (Buffer.byteLength(line) + 2 > lineBytesMax) {
    throw new Pop3ProtocolError(
      'upstream_protocol_error',
      phase,
      `A command line has more than ${lineBytesMax} octets.`,
    );
  }
  return `${line}\r\n`;
}
