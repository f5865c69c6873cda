/** The answers to pipelined commands, one after the other, each with its body where it has one. */
import { AnswerGuard, MessageBody, type FlowControl } from './body.ts';
import type { Pop3Phase } from './errors.ts';
import { Pipeline, type PipelineWindow } from './pipeline.ts';
import type { StatusLine } from './replies.ts';
import type { Command } from './session.ts';

/** One command for each item. */
export interface Series<Item, Result> {
  phase: Pop3Phase;
  items: Iterable<Item>;
  lineOf(item: Item): string;
  /** Octets of the answer, as LIST states them; null where they are not known. */
  bytesOf(item: Item): number | null;
  hasBody: boolean;
  read(request: Request<Item>, reply: StatusLine): Result;
}

interface RequestContext<Item> {
  series: Pick<Series<Item, unknown>, 'phase' | 'lineOf' | 'hasBody'>;
  timeoutMs: number;
  flow: FlowControl;
  /** Others may be under way behind it. */
  isPipelined: boolean;
}

/** The command for an item, and what became of it. A thousand may wait: each holds little until its answer is here. */
export class Request<Item> implements Command {
  readonly item: Item;
  readonly #expectedBytes: number | null;
  /** Once there is an answer that has one. */
  body: MessageBody | null = null;
  readonly #context: RequestContext<Item>;
  #outcome: StatusLine | Error | null = null;
  #waiter: PromiseWithResolvers<StatusLine> | null = null;

  constructor(item: Item, expectedBytes: number | null, context: RequestContext<Item>) {
    this.item = item;
    this.#expectedBytes = expectedBytes;
    this.#context = context;
  }

  /** For the window. */
  get bytes(): number {
    return this.#expectedBytes ?? 0;
  }

  get line(): string {
    return this.#context.series.lineOf(this.item);
  }

  get phase(): Pop3Phase {
    return this.#context.series.phase;
  }

  get timeoutMs(): number {
    return this.#context.timeoutMs;
  }

  answer(reply: StatusLine): MessageBody | null {
    const { flow, isPipelined, series } = this.#context;
    if (reply.ok && series.hasBody) {
      this.body = new MessageBody(flow, isPipelined ? new AnswerGuard(this.#expectedBytes) : null);
    }
    this.#outcome = reply;
    this.#waiter?.resolve(reply);
    return this.body;
  }

  fail(error: Error): void {
    this.#outcome = error;
    this.#waiter?.reject(error);
  }

  /** The answer, at once where it is here. @throws what ended the connection before it. */
  reply(): StatusLine | Promise<StatusLine> {
    if (this.#outcome instanceof Error) throw this.#outcome;
    if (this.#outcome) return this.#outcome;
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
    const isUnderWay = !this.#isOver && this.#pipeline !== null;
    this.#isOver = true;
    return isUnderWay ? this.#end(false) : { done: true, value: undefined };
  }

  #end(isDone: boolean): IteratorResult<Result, void> {
    this.#isOver = true;
    this.#options.end(isDone);
    return { done: true, value: undefined };
  }
}
