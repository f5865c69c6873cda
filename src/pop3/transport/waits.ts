/** Waits that a deadline or the abort signal ends, without a socket left behind, and the errors for them. */
import type { Socket } from 'node:net';
import { toError, type AppErrorOptions } from '../../errors.ts';
import { Pop3ConnectionError, type Pop3Phase } from '../errors.ts';

export interface Deadline {
  timeoutMs: number;
  signal: AbortSignal | undefined;
  /** Makes the error for a deadline that is over. */
  expired: () => Error;
}

/**
 * Ends a wait, once: what an AbortSignal is, of which each connection would need three, and which cost more than the rest
 * of its set-up together.
 */
export class Cutoff {
  /** Null until it ends. */
  reason: Error | null = null;
  readonly #listeners = new Set<(reason: Error) => void>();

  end(reason: Error): void {
    if (this.reason) return;
    this.reason = reason;
    for (const listener of this.#listeners) listener(reason);
  }

  listen(listener: (reason: Error) => void): void {
    this.#listeners.add(listener);
  }

  unlisten(listener: (reason: Error) => void): void {
    this.#listeners.delete(listener);
  }
}

/**
 * The outcome of the work, unless the time is over or the signal aborted first. The work gets a cutoff that covers both,
 * with the error as its reason; a value that comes too late all the same goes to `dispose`.
 */
export async function withDeadline<T>(
  { timeoutMs, signal, expired }: Deadline,
  work: (cutoff: Cutoff) => Promise<T>,
  dispose: (late: T) => void = ignore,
): Promise<T> {
  if (signal?.aborted) throw toError(signal.reason);
  const cutoff = new Cutoff();
  const abort = (): void => cutoff.end(toError(signal?.reason));
  const timer = setTimeout(() => cutoff.end(expired()), timeoutMs);
  signal?.addEventListener('abort', abort);
  try {
    return await new Promise<T>((resolve, reject) => {
      cutoff.listen(reject);
      work(cutoff).then((value) => {
        if (cutoff.reason) dispose(value);
        else resolve(value);
      }, reject);
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** Where this fails, by an error, the end, or the cutoff, the socket is destroyed. @throws whatever the socket's error is. */
export async function untilEvent(socket: Socket, event: 'secureConnect' | 'readable', cutoff: Cutoff): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const close = (): void => reject(new Error('the connection was closed'));
  socket.on(event, resolve).on('error', reject).on('end', close).on('close', close);
  cutoff.listen(reject);
  if (cutoff.reason) reject(cutoff.reason);
  else if (socket.destroyed) close();
  try {
    await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    socket.off(event, resolve).off('error', reject).off('end', close).off('close', close);
    cutoff.unlisten(reject);
  }
}

/** For a socket that nobody waits for any more. */
export function discard(socket: Socket): void {
  socket.destroy();
}

export function ignore(): void {}

export function timedOut(phase: Pop3Phase, message: string): Pop3ConnectionError {
  return new Pop3ConnectionError('upstream_timeout', phase, message);
}

export function connectionFailed(message: string, options?: AppErrorOptions): Pop3ConnectionError {
  return new Pop3ConnectionError('upstream_unreachable', 'connect', message, options);
}

export function seconds(ms: number): string {
  return `${ms / 1000} s`;
}
