/** A pace that all deliveries of a process keep. */

/**
 * Whoever waits goes on with all others that wait: what they ask of Redis then goes out in one write, and the answers come in one read.
 * Each by itself costs as much as the sending of a request.
 */
export function createBeat(everyMs: number, sleep: (ms: number) => Promise<void>): () => Promise<void> {
  let next: Promise<void> | null = null;
  return () =>
    (next ??= sleep(everyMs).finally(() => {
      next = null;
    }));
}
