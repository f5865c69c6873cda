/** The body of a GET: whole or an error. A body that is cut off must not look like a short blob. */
import { Transform, type Readable } from 'node:stream';
import { blobStoreFailed } from './blob-error.ts';

export interface S3BodyOptions {
  /** What the head of the answer has promised. */
  bytes: number;
  /** How long nothing may come while it is waited for, in milliseconds. */
  stallTimeoutMs: number;
}

/** Destroying what this returns ends the transfer and frees its connection. */
export function checkBody(body: Readable, { bytes, stallTimeoutMs }: S3BodyOptions): Readable {
  let missing = bytes;
  const cutOff = (): Error => blobStoreFailed(`S3 broke off ${missing} bytes before the end of a blob`);
  const checked = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      missing -= chunk.length;
      timer.refresh();
      if (missing < 0) done(blobStoreFailed('S3 sent more bytes than it had announced'));
      else done(null, chunk);
    },
    flush(done) {
      done(missing > 0 ? cutOff() : null);
    },
    destroy(error, done) {
      clearTimeout(timer);
      body.destroy();
      done(error);
    },
  });
  const timer = setTimeout(() => {
    // Who is slow here is the reader.
    if (checked.writableNeedDrain) timer.refresh();
    else checked.destroy(blobStoreFailed(`S3 has sent nothing for ${stallTimeoutMs / 1000} s: try again later`));
  }, stallTimeoutMs);
  body.on('end', () => clearTimeout(timer));
  body.on('error', () => checked.destroy(cutOff()));
  body.on('close', () => {
    if (!body.readableEnded) checked.destroy(cutOff());
  });
  return body.pipe(checked);
}
