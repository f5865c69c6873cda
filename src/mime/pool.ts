/**
 * Parsing in worker threads, so that a message that eats time or memory takes down a thread and nothing else.
 *
 * It answers every message: one that ends its thread comes back as `failed`, with the header section that another thread
 * reads alone. It does not queue with a bound; whoever calls it has as many messages in hand as it can hold.
 */
import type { Readable } from 'node:stream';
import { isMarkedAsUntransferable, MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { AppError, toError } from '../errors.ts';
import {
  parseLimits,
  sanitizeTimeLimitMs,
  threadHeapMb,
  threadIdleMs,
  threadTimeLimitMs,
  type ParseLimits,
} from './limits.ts';
import { feedMessage, type MessageFeed } from './message-feed.ts';
import type { ParsedMessage, ParseWarning } from './message.ts';
import { parseHeaders } from './parse.ts';
import type { SanitizedHtml } from './sanitize.ts';
import type { ParseTask, SanitizeTask } from './worker.ts';

export interface MimePoolOptions {
  readonly threads: number;
  /** Threads start when there is work for them, for a process that may never have any; at once unless so. */
  readonly isLazy?: boolean;
  readonly limits?: ParseLimits;
  readonly timeLimitMs?: number;
  readonly heapMb?: number;
  /** Told of each message that ended its thread, and why. */
  readonly onFailure?: (error: Error) => void;
  /** Another worker file, for tests that need a thread to misbehave. */
  readonly workerUrl?: URL;
}

export interface MimePool {
  /**
   * The bytes are given away: they are empty afterwards where they own their memory. A large message comes as a stream, of which
   * no more than a chunk is held; it is destroyed in any case. A slow one keeps a thread waiting: it should come from storage.
   *
   * @throws AppError `cancelled` after close; what the stream fails with; and nothing for what a message holds.
   */
  parse(raw: Uint8Array | Readable): Promise<ParsedMessage>;
  /**
   * HTML fit to be shown, or why there is none.
   *
   * @throws AppError `cancelled` after close, and for nothing that the HTML holds.
   */
  sanitize(html: string): Promise<SanitizedHtml>;
  /** Messages and HTML that were given and are not done; those in threads, and those that wait for one. */
  readonly inHand: number;
  /** Waits for the messages in hand, then ends the threads. */
  close(): Promise<void>;
}

/** This module is `.ts` in the checkout and `.js` in the package, and so is the worker beside it. */
const ownWorkerUrl = new URL(`./worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);

export function createMimePool(options: MimePoolOptions): MimePool {
  const {
    threads,
    timeLimitMs = threadTimeLimitMs,
    heapMb = threadHeapMb,
    limits = parseLimits,
    onFailure = () => {},
  } = options;
  const piscina = new Piscina<ParseTask | SanitizeTask, ParsedMessage | SanitizedHtml>({
    filename: (options.workerUrl ?? ownWorkerUrl).href,
    minThreads: options.isLazy === true ? 0 : threads,
    maxThreads: threads,
    idleTimeout: threadIdleMs,
    resourceLimits: { maxOldGenerationSizeMb: heapMb },
    // Nothing of the process's environment is any business of code that handles mail, least of all its secrets.
    env: {},
    // The default would hand on the flags of the parent (--inspect, a test runner's loader). Node 22 warns of type stripping.
    execArgv: ['--disable-warning=ExperimentalWarning'],
    recordTiming: false,
  });
  piscina.on('error', onFailure);
  const slots = createSlots(threads);
  const inHand = new Set<Promise<unknown>>();
  let isClosed = false;

  async function runBytes(task: Extract<ParseTask, { bytes: Uint8Array }>): Promise<ParsedMessage> {
    const { buffer } = task.bytes;
    const transferList = buffer instanceof ArrayBuffer ? [buffer] : [];
    const signal = AbortSignal.timeout(timeLimitMs);
    return piscina.run(task, { signal, transferList }) as Promise<ParsedMessage>;
  }

  /** Time in which the thread waits for the source is not the message's. */
  async function runStream(raw: Readable): Promise<ParsedMessage> {
    const { port1, port2 } = new MessageChannel();
    const limit = createTimeLimit(timeLimitMs);
    const feed = feedMessage(raw as AsyncIterable<Uint8Array>, port1, { onWait: limit.pause, onWork: limit.resume });
    try {
      const task: ParseTask = { kind: 'stream', port: port2, limits };
      return (await piscina.run(task, { signal: limit.signal, transferList: [port2] })) as ParsedMessage;
    } catch (thrown) {
      throw feed.error() ?? new Interrupted(toError(thrown), feed);
    } finally {
      limit.end();
      feed.stop();
      raw.destroy();
    }
  }

  async function parse(raw: Uint8Array | Readable): Promise<ParsedMessage> {
    // The time limit starts when there is a thread: a message does not pay for those before it.
    await slots.take();
    try {
      if (!(raw instanceof Uint8Array)) {
        return await runStream(raw).catch((thrown: unknown) => {
          if (thrown instanceof Interrupted) return readHeaders(thrown.feed.head(), thrown.reason);
          throw thrown;
        });
      }
      // A copy, made while the bytes are here; Buffer's own slice would be a view of what is given away.
      const head = new Uint8Array(raw.subarray(0, limits.headerBytes));
      const task = { kind: 'message', bytes: ownMemory(raw), limits } as const;
      return await runBytes(task).catch((thrown: unknown) => readHeaders(head, toError(thrown)));
    } finally {
      slots.free();
    }
  }

  /** What is left of a message that has ended its thread. */
  async function readHeaders(head: Uint8Array, error: Error): Promise<ParsedMessage> {
    const reason = explain(error, onFailure);
    return runBytes({ kind: 'headers', bytes: head, reason, limits }).catch((again: unknown) => {
      explain(toError(again), onFailure);
      return parseHeaders(new Uint8Array(), reason, limits);
    });
  }

  async function sanitize(html: string): Promise<SanitizedHtml> {
    await slots.take();
    try {
      const signal = AbortSignal.timeout(Math.min(timeLimitMs, sanitizeTimeLimitMs));
      return (await piscina.run({ kind: 'sanitize', html }, { signal })) as SanitizedHtml;
    } catch (thrown) {
      return { html: null, failure: explain(toError(thrown), onFailure).code };
    } finally {
      slots.free();
    }
  }

  function hold<T>(work: () => Promise<T>): Promise<T> {
    if (isClosed)
      return Promise.reject(new AppError('cancelled', 'The message was not parsed: the service is stopping.'));
    const working = work();
    inHand.add(working);
    return working.finally(() => inHand.delete(working));
  }

  return {
    parse(raw) {
      if (isClosed && !(raw instanceof Uint8Array)) raw.destroy();
      return hold(() => parse(raw));
    },
    sanitize: (html) => hold(() => sanitize(html)),
    get inHand() {
      return inHand.size;
    },
    async close() {
      isClosed = true;
      await Promise.allSettled(inHand);
      await piscina.destroy();
    },
  };
}

/** The thread ended before the message did. */
class Interrupted extends Error {
  readonly reason: Error;
  readonly feed: MessageFeed;

  constructor(reason: Error, feed: MessageFeed) {
    super(reason.message);
    this.reason = reason;
    this.feed = feed;
  }
}

/** A limit that counts while it is not paused. It begins to when the thread first has something to do. */
function createTimeLimit(limitMs: number): { signal: AbortSignal; pause(): void; resume(): void; end(): void } {
  const controller = new AbortController();
  let leftMs = limitMs;
  let timer: NodeJS.Timeout | undefined;
  let sinceMs = 0;
  let isOver = false;
  const resume = (): void => {
    if (isOver) return;
    sinceMs = performance.now();
    timer = setTimeout(() => controller.abort(), Math.max(0, leftMs));
  };
  const pause = (): void => {
    if (timer === undefined) return;
    clearTimeout(timer);
    timer = undefined;
    leftMs -= performance.now() - sinceMs;
  };
  const end = (): void => {
    isOver = true;
    pause();
  };
  return { signal: controller.signal, pause, resume, end };
}

type ThreadFailure = ParseWarning & { readonly code: 'time_limit' | 'memory_limit' | 'crashed' };

function explain(error: Error, onFailure: (error: Error) => void): ThreadFailure {
  onFailure(error);
  if (error.name === 'AbortError') {
    return { code: 'time_limit', detail: 'The message took too long to parse; only its header section was read.' };
  }
  if ('code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return {
      code: 'memory_limit',
      detail: 'The message took too much memory to parse; only its header section was read.',
    };
  }
  return { code: 'crashed', detail: 'The parser crashed on the message; only its header section was read.' };
}

/** Bytes that may be transferred: those of Node's shared buffer pool, or of a larger buffer, are copied first. */
function ownMemory(bytes: Uint8Array): Uint8Array {
  const { buffer } = bytes;
  const isOwn =
    buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength && !isMarkedAsUntransferable(buffer);
  return isOwn ? bytes : new Uint8Array(bytes);
}

/** First come, first served. */
function createSlots(count: number): { take(): Promise<void>; free(): void } {
  const waiting: (() => void)[] = [];
  let free = count;
  return {
    async take() {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
    },
    free() {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    },
  };
}
