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
 * The outcome of the work, unless the time is over or the signal aborted first. The work gets a signal of its own that
 * covers both, with the error as its reason; a value that comes too late all the same goes to `dispose`.
 */
export async function withDeadline<T>(
  { timeoutMs, signal, expired }: Deadline,
  work: (signal: AbortSignal) => Promise<T>,
  dispose: (late: T) => void = ignore,
): Promise<T> {
  if (signal?.aborted) throw toError(signal.reason);
  const ended = Promise.withResolvers<never>();
  const controller = new AbortController();
  const end = (error: Error): void => {
    ended.reject(error);
    controller.abort(error);
  };
  const abort = (): void => end(toError(signal?.reason));
  const timer = setTimeout(() => end(expired()), timeoutMs);
  signal?.addEventListener('abort', abort);
  const working = work(controller.signal);
  try {
    return await Promise.race([working, ended.promise]);
  } catch (error) {
    working.then(dispose, ignore);
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** Where this fails, by an error, the end, or the abort, the socket is destroyed. @throws whatever the socket's error is. */
export async function untilEvent(
  socket: Socket,
  event: 'secureConnect' | 'readable',
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const close = (): void => reject(new Error('the connection was closed'));
  const abort = (): void => reject(toError(signal.reason));
  socket.on(event, resolve).on('error', reject).on('end', close).on('close', close);
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  else if (socket.destroyed) close();
  try {
    await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    socket.off(event, resolve).off('error', reject).off('end', close).off('close', close);
    signal.removeEventListener('abort', abort);
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
