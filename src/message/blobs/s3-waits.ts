/** How long S3 may take. The SDK bounds the way to it and the head of an answer; a body that never ends is bounded here. */
import { s3Limits } from './limits.ts';

/** Times are in milliseconds; see `s3Limits`. */
export interface S3Timeouts {
  connectTimeoutMs: number;
  answerTimeoutMs: number;
  stallTimeoutMs: number;
  pauseMsMax: number;
  /** In bytes per millisecond. */
  uploadBytesPerMsMin: number;
}

/** What a request of the SDK takes. */
export interface S3Waits {
  abortSignal: AbortSignal;
  requestTimeout: number;
}

/** How long an upload may take until it is answered. */
export function uploadTimeoutMs(bytes: number, { answerTimeoutMs, uploadBytesPerMsMin }: S3Timeouts): number {
  return answerTimeoutMs + Math.ceil(bytes / uploadBytesPerMsMin);
}

/** How long all tries of an upload of so many bytes may take together. */
export function deadlineMs(bytes: number, timeouts: S3Timeouts): number {
  return s3Limits.attemptsMax * (uploadTimeoutMs(bytes, timeouts) + timeouts.pauseMsMax);
}

/** Runs a request that sends `bytes`, with a time limit for each try and one for all. What has its head by then may go on. */
export async function withDeadline<T>(
  timeouts: S3Timeouts,
  bytes: number,
  send: (waits: S3Waits) => Promise<T>,
): Promise<T> {
  const aborter = new AbortController();
  const timer = setTimeout(() => aborter.abort(), deadlineMs(bytes, timeouts));
  try {
    return await send({ abortSignal: aborter.signal, requestTimeout: uploadTimeoutMs(bytes, timeouts) });
  } catch (error) {
    // In the middle of an answer it looks as if the server had hung up.
    throw aborter.signal.aborted ? aborter.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}
