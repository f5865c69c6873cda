/** A wait that a signal ends, for work that cannot be called off: getaddrinfo, or a request that still waits for its connection. Imports nothing. */

/** @throws the signal's reason; the work goes on, and what it comes to goes nowhere. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const abort = (): void => reject(signal.reason as Error);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  return promise;
}
