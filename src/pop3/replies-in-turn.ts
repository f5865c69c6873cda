/** The answers to pipelined commands, one after the other, each with its body where it has one. */
import type { MessageBody } from './body.ts';
import type { Pop3Phase } from './errors.ts';
import { Pipeline, type PipelineWindow } from './pipeline.ts';
import type { StatusLine } from './replies.ts';
import type { Command } from './session.ts';

export interface PipelinedCommand extends Command {
  readonly line: string;
}

interface RequestOptions<Item> {
  item: Item;
  phase: Pop3Phase;
  line: string;
  /** Octets of the answer, as far as known. */
  bytes: number;
  timeoutMs: number;
  body: MessageBody | null;
}

/** A command for an item, and what became of it. */
export class Request<Item> implements PipelinedCommand {
  readonly item: Item;
  readonly phase: Pop3Phase;
  readonly line: string;
  readonly bytes: number;
  readonly timeoutMs: number;
  readonly body: MessageBody | null;
  #reply: StatusLine | null = null;
  #error: Error | null = null;
  #waiter: PromiseWithResolvers<StatusLine> | null = null;

  constructor({ item, phase, line, bytes, timeoutMs, body }: RequestOptions<Item>) {
    this.item = item;
    this.phase = phase;
    this.line = line;
    this.bytes = bytes;
    this.timeoutMs = timeoutMs;
    this.body = body;
  }

  answer(reply: StatusLine): MessageBody | null {
    this.#reply = reply;
    this.#waiter?.resolve(reply);
    return reply.ok ? this.body : null;
  }

  fail(error: Error): void {
    this.#error = error;
    this.#waiter?.reject(error);
  }

  /** The answer, at once where it is here. @throws what ended the connection before it. */
  reply(): StatusLine | Promise<StatusLine> {
    if (this.#reply) return this.#reply;
    if (this.#error) throw this.#error;
    this.#waiter = Promise.withResolvers();
    return this.#waiter.promise;
  }
}

interface RunOptions<Item, Result> {
  requests: Iterable<Request<Item>>;
  window: PipelineWindow;
  send(batch: readonly Request<Item>[]): void;
  read(request: Request<Item>, reply: StatusLine): Result;
  /** Not done: the consumer left, or the session broke. Answers may be under way still. */
  end(isDone: boolean): void;
}

/** Iterated once. A body that was not begun when the next answer is asked for is passed over. */
export class RepliesInTurn<Item, Result> implements AsyncIterableIterator<Result, void> {
  readonly #options: RunOptions<Item, Result>;
  #pipeline: Pipeline<Request<Item>> | null = null;
  #body: MessageBody | null = null;
  #isOver = false;

  constructor(options: RunOptions<Item, Result>) {
    this.#options = options;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Result, void>> {
    if (this.#isOver) return { done: true, value: undefined };
    const { requests, window, send, read } = this.#options;
    try {
      this.#body?.skip();
      this.#pipeline ??= new Pipeline(requests, window, send);
      const request = this.#pipeline.take();
      if (!request) return this.#end(true);
      let reply = request.reply();
      if (reply instanceof Promise) reply = await reply;
      this.#body = request.body;
      return { done: false, value: read(request, reply) };
    } catch (error) {
      this.#end(false);
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Result, void>> {
    return this.#isOver ? { done: true, value: undefined } : this.#end(false);
  }

  #end(isDone: boolean): IteratorResult<Result, void> {
    this.#isOver = true;
    this.#options.end(isDone);
    return { done: true, value: undefined };
  }
}
