/**
 * Parsing in worker threads, so that a message that eats time or memory takes down a thread and nothing else.
 *
 * It answers every message: one that ends its thread comes back as `failed`, with the header section that another thread
 * reads alone. It does not queue with a bound; whoever calls it has as many messages in hand as it can hold.
 */
import { isMarkedAsUntransferable } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { AppError, toError } from '../errors.ts';
import { headerBytesMax, threadHeapMb, threadTimeLimitMs } from './limits.ts';
import type { ParsedMessage, ParseWarning } from './message.ts';
import { parseHeaders } from './parse.ts';
import type { ParseTask } from './worker.ts';

export interface MimePoolOptions {
  readonly threads: number;
  readonly timeLimitMs?: number;
  readonly heapMb?: number;
  /** Told of each message that ended its thread, and why. */
  readonly onFailure?: (error: Error) => void;
  /** Another worker file, for tests that need a thread to misbehave. */
  readonly workerUrl?: URL;
}

export interface MimePool {
  /**
   * `bytes` are given away: they are empty afterwards where they own their memory.
   *
   * @throws AppError `cancelled` after close, and for nothing that a message holds.
   */
  parse(bytes: Uint8Array): Promise<ParsedMessage>;
  /** Waits for the messages in hand, then ends the threads. */
  close(): Promise<void>;
}

/** This module is `.ts` in the checkout and `.js` in the package, and so is the worker beside it. */
const ownWorkerUrl = new URL(`./worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);

export function createMimePool(options: MimePoolOptions): MimePool {
  const { threads, timeLimitMs = threadTimeLimitMs, heapMb = threadHeapMb, onFailure = () => {} } = options;
  const piscina = new Piscina<ParseTask, ParsedMessage>({
    filename: (options.workerUrl ?? ownWorkerUrl).href,
    minThreads: threads,
    maxThreads: threads,
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

  async function run(task: ParseTask): Promise<ParsedMessage> {
    const { buffer } = task.bytes;
    const transferList = buffer instanceof ArrayBuffer ? [buffer] : [];
    return piscina.run(task, { signal: AbortSignal.timeout(timeLimitMs), transferList });
  }

  async function parse(bytes: Uint8Array): Promise<ParsedMessage> {
    // The time limit starts when there is a thread: a message does not pay for those before it.
    await slots.take();
    try {
      // A copy, made while the bytes are here; Buffer's own slice would be a view of what is given away.
      const head = new Uint8Array(bytes.subarray(0, headerBytesMax));
      return await run({ kind: 'message', bytes: ownMemory(bytes) }).catch((thrown: unknown) => {
        const reason = explain(toError(thrown), onFailure);
        return run({ kind: 'headers', bytes: head, reason }).catch((again: unknown) => {
          explain(toError(again), onFailure);
          return parseHeaders(new Uint8Array(), reason);
        });
      });
    } finally {
      slots.free();
    }
  }

  return {
    parse(bytes) {
      if (isClosed)
        return Promise.reject(new AppError('cancelled', 'The message was not parsed: the service is stopping.'));
      const parsed = parse(bytes);
      inHand.add(parsed);
      return parsed.finally(() => inHand.delete(parsed));
    },
    async close() {
      isClosed = true;
      await Promise.allSettled(inHand);
      await piscina.destroy();
    },
  };
}

function explain(error: Error, onFailure: (error: Error) => void): ParseWarning {
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
