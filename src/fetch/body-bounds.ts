/** How much of a message's bytes is read. */
import { AppError } from '../errors.ts';
import type { FetchLimits } from '../mailbox/policies.ts';
import { tooLarge, type PlannedMessage } from './plan.ts';

/** Reads to the end, and keeps the first bytes. */
export async function readStart(source: AsyncIterable<Buffer>, bytesMax: number): Promise<Uint8Array> {
  const kept: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of source) {
    if (bytes < bytesMax) kept.push(Buffer.from(chunk.subarray(0, bytesMax - bytes)));
    bytes += chunk.length;
  }
  return new Uint8Array(Buffer.concat(kept));
}

/** @throws AppError `message_too_large` where more comes than the limit allows. */
export async function* bounded(
  body: AsyncIterable<Buffer>,
  message: PlannedMessage,
  limits: FetchLimits,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > limits.messageBytes) throw new AppError('message_too_large', tooLarge(message, limits).detail);
    yield chunk;
  }
}
