/** The body of a request: of the type that the contract names, and within a bound. */
import { buffer } from 'node:stream/consumers';
import { AppError } from '../errors.ts';
import { bodyBytesMax, droppedBytesMax } from './limits.ts';

/** @throws AppError `unsupported_media_type`. */
export function checkBodyType({ headers }: Request, wanted: string): void {
  const type = headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
  if (type !== wanted) {
    throw new AppError('unsupported_media_type', `The body must be sent as "Content-Type: ${wanted}".`);
  }
  const coding = headers.get('content-encoding')?.trim().toLowerCase() ?? 'identity';
  if (coding !== 'identity') {
    throw new AppError('unsupported_media_type', 'The body must be sent without a Content-Encoding.');
  }
}

/** @throws AppError `invalid_json`, `body_too_large`, `cancelled`. */
export async function readJson(request: Request): Promise<unknown> {
  const bytes = await buffer(readBytes(request, bodyBytesMax));
  try {
    // Fatal: a password in another encoding must not be taken for one with replacement characters in it.
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch {
    const detail = bytes.length === 0 ? 'The body is empty.' : 'The body is not well-formed JSON in UTF-8.';
    throw new AppError('invalid_json', detail);
  }
}

/**
 * The bytes as they come. A body over the limit is read on for a while, and dropped: a caller who is still sending does not
 * read why it is refused.
 *
 * @throws AppError `body_too_large`; `cancelled` where the caller goes away before the end.
 */
export async function* readBytes(request: Request, bytesMax: number): AsyncGenerator<Uint8Array> {
  // What is known to be too large is not worth holding.
  const isWanted = Number(request.headers.get('content-length') ?? 0) <= bytesMax;
  const readBytesMax = (isWanted ? bytesMax : 0) + droppedBytesMax;
  let bytes = 0;
  for await (const chunk of chunksOf(request)) {
    bytes += chunk.length;
    if (bytes > readBytesMax) break;
    if (isWanted && bytes <= bytesMax) yield chunk;
  }
  if (!isWanted || bytes > bytesMax) {
    throw new AppError('body_too_large', `The body is over the limit of ${bytesMax} bytes.`);
  }
}

async function* chunksOf(request: Request): AsyncGenerator<Uint8Array> {
  try {
    // Cancelling the body would take the connection down before the answer is out.
    yield* request.body?.values({ preventCancel: true }) ?? [];
  } catch (error) {
    throw new AppError('cancelled', 'The body did not come to its end.', { cause: error });
  }
}
