/** A blob of unknown length in parts. Memory holds a part or two of it, and nothing is seen of it until the last is there. */
import { Readable } from 'node:stream';
import { s3Limits } from './limits.ts';
import type { S3 } from './s3-client.ts';
import { deadlineMs, type S3Timeouts } from './s3-waits.ts';

/**
 * Uploads `head` and what follows it. Resolves with what the source throws, where it does.
 * @throws what the SDK throws.
 */
export async function uploadParts(
  { client, Upload }: S3,
  to: { Bucket: string; Key: string },
  head: Buffer[],
  rest: AsyncGenerator<Buffer, void>,
  timeouts: S3Timeouts,
): Promise<{ error: unknown } | undefined> {
  const abortController = new AbortController();
  const stepMs = 2 * deadlineMs(s3Limits.partBytes, timeouts);
  let timer: NodeJS.Timeout | undefined;
  let failure: { error: unknown } | undefined;
  const body = Readable.from(feed());
  const { partBytes: partSize, partsAtOnce: queueSize } = s3Limits;
  const upload = new Upload({ client, params: { ...to, Body: body }, partSize, queueSize, abortController });
  try {
    await upload.done();
  } catch (error) {
    if (!failure) throw error;
  } finally {
    clearTimeout(timer);
    body.destroy();
    await rest.return();
  }
  return failure;

  /** Time runs while S3 is waited for, and not while the source is. */
  async function* feed(): AsyncGenerator<Buffer, void> {
    while (head.length > 0) yield* handOver(head.shift());
    for (;;) {
      const next = await rest.next().catch((error: unknown) => {
        failure = { error };
        throw error;
      });
      if (next.done) break;
      yield* handOver(next.value);
    }
    startTimer();
  }

  function* handOver(piece: Buffer | undefined): Generator<Buffer, void> {
    startTimer();
    if (piece) yield piece;
    clearTimeout(timer);
  }

  function startTimer(): void {
    timer = setTimeout(() => abortController.abort(), stepMs);
  }
}
