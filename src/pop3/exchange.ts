/**
 * How the client says a command and gets its answer: one by one, as lines, or many at once. A -ERR becomes a typed error
 * here; which command may be said when is the client's to know.
 */
import { LineSplitter, MessageBody } from './body.ts';
import { noCapabilities, type Capabilities } from './capabilities.ts';
import type { Connection } from './connection.ts';
import { Pop3ProtocolError, type Pop3CommandError, type Pop3Phase } from './errors.ts';
import { pipelineBackoff, pipelineBytesMax, pipelineCommandsMax, type Pop3Timeouts } from './limits.ts';
import { commandRefused, sessionRefused } from './refusals.ts';
import type { StatusLine } from './replies.ts';
import { RepliesInTurn, Request, type Series } from './replies-in-turn.ts';
import type { Credentials } from './sasl/index.ts';
import type { PipeliningMemory } from './settings.ts';

export interface ExchangeOptions {
  /** `host:port`. */
  place: string;
  timeouts: Readonly<Pop3Timeouts>;
  pipelining: PipeliningMemory | undefined;
}

export class Exchange {
  /** As of the last CAPA. */
  capabilities: Capabilities = noCapabilities;
  readonly #connection: Connection;
  readonly #options: ExchangeOptions;

  constructor(connection: Connection, options: ExchangeOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  send(phase: Pop3Phase, line: string, body?: MessageBody): Promise<StatusLine> {
    const timeoutMs = this.#options.timeouts.commandMs;
    return this.#connection.send({ phase, line, timeoutMs, ...(body && { body }) });
  }

  /** @throws Pop3CommandError where the answer is -ERR. */
  async ask(phase: Pop3Phase, line: string, body?: MessageBody): Promise<StatusLine> {
    const reply = await this.send(phase, line, body);
    if (!reply.ok) throw this.refused(phase, line, reply);
    return reply;
  }

  /** An answer with a body. */
  async askForBody(phase: Pop3Phase, line: string): Promise<MessageBody> {
    const body = new MessageBody(this.#connection);
    await this.ask(phase, line, body);
    return body;
  }

  /** The lines of an answer as they arrive, some at a time. */
  async *lines(phase: Pop3Phase, line: string, linesMax: number): AsyncGenerator<string[], void> {
    const violation = (what: string): Error => {
      const error = this.#connection.violation(what);
      this.#connection.fail(error);
      return error;
    };
    const splitter = new LineSplitter({ linesMax, violation });
    for await (const chunk of await this.askForBody(phase, line)) yield splitter.push(chunk);
  }

  /** Pipelined where the server allows it. Leaving early ends the session. */
  series<Item, Result>(series: Series<Item, Result>): RepliesInTurn<Item, Result> {
    const connection = this.#connection;
    const { place, pipelining } = this.#options;
    const count = this.#countAtOnce();
    return new RepliesInTurn({
      requests: this.#requests(series, count > 1),
      window: { count, bytes: pipelineBytesMax },
      send: (batch) => connection.sendAll(batch),
      read: series.read,
      end(isDone) {
        if (!isDone) connection.close();
        if (count === 1 || !connection.isBrokenOff) return;
        pipelining?.set(place, connection.isOutOfStep ? 1 : Math.ceil(count / pipelineBackoff));
      },
    });
  }

  /** What a -ERR means. */
  refused(phase: Pop3Phase, line: string, reply: StatusLine): Pop3CommandError {
    return commandRefused(phase, line, reply, this.#facts);
  }

  loginRefused(reply: StatusLine, credentials: Credentials['kind']): Pop3CommandError {
    return sessionRefused(reply, credentials, this.#facts);
  }

  /** The answer is +OK and yet none: there is nothing to go on with. */
  broken(phase: Pop3Phase, line: string, reply: StatusLine): Pop3ProtocolError {
    this.#connection.close();
    const text = `${this.#options.place}: ${line} was answered with ${this.#connection.quote(reply.line)}.`;
    return new Pop3ProtocolError('upstream_protocol_error', phase, text);
  }

  get #facts() {
    const quote = (text: string): string => this.#connection.quote(text);
    return { place: this.#options.place, capabilities: this.capabilities, quote };
  }

  *#requests<Item>(series: Series<Item, unknown>, isPipelined: boolean): Generator<Request<Item>, void> {
    const context = { series, timeoutMs: this.#options.timeouts.commandMs, flow: this.#connection, isPipelined };
    for (const item of series.items) yield new Request(item, series.bytesOf(item), context);
  }

  /** RFC 2449 §6.6: only where CAPA says so, and never more than this server was seen to bear. */
  #countAtOnce(): number {
    if (!this.capabilities.pipelining) return 1;
    return this.#options.pipelining?.get(this.#options.place) ?? pipelineCommandsMax;
  }
}
