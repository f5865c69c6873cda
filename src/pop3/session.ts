/**
 * Commands under way, and the responses that belong to them, in order (RFC 1939 §3). Pure: octets go in, commands are told.
 * It knows no socket, no time and no command's meaning.
 */
import type { BodySink } from './body.ts';
import { Pop3ProtocolError, type Pop3Error, type Pop3Phase } from './errors.ts';
import { recogniseProtocol } from './foreign-protocol.ts';
import { blankLinesMax } from './limits.ts';
import { isBlankLine, parseStatusLine, quoteServerText, type StatusLine } from './replies.ts';
import { ReplyParser, type ReplyHandler } from './reply-parser.ts';
import type { Secrets } from './secrets.ts';

/** A command that waits for its response. The greeting is the response to none, and is waited for in the same way. */
export interface Command {
  readonly phase: Pop3Phase;
  /** From when the answer is due until its first line is whole. */
  readonly timeoutMs: number;
  /** The status line is here. Gives where the body goes; null where none follows. */
  answer(reply: StatusLine): BodySink | null;
  /** There will be no status line. A body that has begun is told by itself. */
  fail(error: Error): void;
}

/** A line of a login, which may be answered by a challenge: the answering line is taken as it comes (RFC 5034 §4). */
export interface Question {
  readonly phase: Pop3Phase;
  readonly timeoutMs: number;
  takeLine(line: Buffer): void;
  fail(error: Error): void;
}

export interface SessionOptions {
  /** `host:port`, for messages. */
  place: string;
  /** Taken out of all server text that is quoted. */
  secrets: Secrets;
  /** Told of every line that the server sends outside bodies, and of each body how many octets it had. */
  onReceived?(what: { line: string } | { bodyBytes: number }): void;
}

export class Session implements ReplyHandler {
  readonly #place: string;
  readonly #secrets: Secrets;
  readonly #onReceived: SessionOptions['onReceived'];
  readonly #parser = new ReplyParser(this);
  /** Whose response is not complete, in the order in which they were sent. */
  #pending: (Command | Question)[] = [];
  /** Of the first of them, once its status line was read. */
  #body: BodySink | null = null;
  #bodyBytes = 0;
  #blankLines = 0;
  /** A blank line has come that belongs to no answer. */
  #hasStrayLine = false;
  #isGreeted = false;
  /** Of the latest command, for what goes wrong between commands. */
  #latestPhase: Pop3Phase = 'greeting';

  constructor({ place, secrets, onReceived }: SessionOptions) {
    this.#place = place;
    this.#secrets = secrets;
    this.#onReceived = onReceived;
  }

  expect(command: Command | Question): void {
    this.#pending.push(command);
    this.#latestPhase = command.phase;
    this.#hasStrayLine = false;
  }

  /** @throws Pop3ProtocolError when the server breaks the protocol: nothing more may be pushed. */
  push(chunk: Buffer): void {
    this.#parser.push(chunk);
  }

  /** Tells all that wait. */
  fail(error: Error): void {
    const body = this.#body;
    this.#body = null;
    const [first, ...others] = this.#pending;
    this.#pending = [];
    if (body) body.fail(error);
    else first?.fail(error);
    for (const command of others) command.fail(error);
  }

  /** What is answered next, or being answered. */
  get due(): Command | Question | undefined {
    return this.#pending[0];
  }

  /** Within the body of an answer. */
  get isInBody(): boolean {
    return this.#body !== null;
  }

  /** Nothing at all has come after the last whole response. */
  get isBetweenReplies(): boolean {
    return this.#parser.isBetweenReplies && !this.#hasStrayLine;
  }

  get phase(): Pop3Phase {
    return this.#pending[0]?.phase ?? this.#latestPhase;
  }

  /** Server text for an error or a log. */
  quote(text: string): string {
    return quoteServerText(text, this.#secrets.forms);
  }

  status(line: Buffer): boolean {
    if (isBlankLine(line)) return this.#passOver();
    this.#blankLines = 0;
    const due = this.#pending[0];
    if (!due) throw this.#broken('the server spoke out of turn', line);
    if ('takeLine' in due) {
      this.#pending.shift();
      due.takeLine(line);
      return false;
    }
    const reply = parseStatusLine(line);
    if (!reply) throw this.#notPop3(due.phase, line);
    this.#onReceived?.({ line: reply.line });
    this.#isGreeted = true;
    this.#body = due.answer(reply);
    if (!this.#body) this.#pending.shift();
    return this.#body !== null;
  }

  data(chunk: Buffer): void {
    this.#bodyBytes += chunk.length;
    this.#body?.data(chunk);
  }

  end(): void {
    const body = this.#body;
    this.#onReceived?.({ bodyBytes: this.#bodyBytes });
    this.#body = null;
    this.#bodyBytes = 0;
    this.#pending.shift();
    body?.end();
  }

  violation(what: string): Error {
    return new Pop3ProtocolError('upstream_protocol_error', this.phase, `${this.#place} sent ${what}.`);
  }

  /** What a server has said that never came to the end of a greeting; null where that is nothing known. */
  recogniseForeign(): Pop3Error | null {
    const bytes = this.#parser.partialLine;
    return this.#isGreeted || !recogniseProtocol(bytes) ? null : this.#notPop3('greeting', bytes);
  }

  #passOver(): false {
    this.#hasStrayLine = this.#pending.length === 0;
    this.#blankLines += 1;
    if (this.#blankLines > blankLinesMax) throw this.violation(`more than ${blankLinesMax} blank lines`);
    return false;
  }

  #notPop3(phase: Pop3Phase, line: Buffer): Pop3Error {
    if (this.#isGreeted) return this.#broken('the answer begins neither with +OK nor with -ERR', line);
    const foreign = recogniseProtocol(line);
    const message = foreign
      ? `${this.#place} is no POP3 server but speaks ${foreign.name}: ${foreign.advice}.`
      : `${this.#place} is no POP3 server. It greets with ${this.quote(line.toString('utf8'))}.`;
    return new Pop3ProtocolError('upstream_not_pop3', phase, message);
  }

  #broken(what: string, line: Buffer): Pop3ProtocolError {
    const message = `${this.#place}: ${what}: ${this.quote(line.toString('utf8'))}.`;
    return new Pop3ProtocolError('upstream_protocol_error', this.phase, message);
  }
}
