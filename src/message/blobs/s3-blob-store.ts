/**
 * Blobs as objects of an S3 bucket, Amazon's or another's, under PREFIX/TENANT/ID. An object is there whole or not at all,
 * and durable when S3 has answered. Where its answer to a write is lost, an object may stay that nobody knows of; `list`
 * shows it.
 *
 * Every wait is bounded: an S3 that cannot be reached fails what asks for it, and holds nothing up.
 */
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { GetObjectCommandOutput, ListMultipartUploadsCommandOutput } from '@aws-sdk/client-s3';
import { blobStoreFailed } from './blob-error.ts';
import { checkName, checkRange, readName } from './blob-name.ts';
import { gatherPieces } from './blob-pieces.ts';
import type { BlobName, BlobStore, ByteRange } from './blob-store.ts';
import { s3Limits } from './limits.ts';
import { checkBody } from './s3-body.ts';
import { loadS3, type S3, type S3Place } from './s3-client.ts';
import { guardS3, readS3Error, s3Failed } from './s3-error.ts';
import { uploadParts } from './s3-upload.ts';
import { withDeadline, type S3Timeouts, type S3Waits } from './s3-waits.ts';

export interface S3BlobStoreOptions extends S3Place {
  /** What differs from `s3Limits`. */
  timeouts?: Partial<S3Timeouts>;
  /** Entries to a page while all are listed. */
  listPageMax?: number;
}

/** Nothing is loaded and nobody is asked until it is used. */
export function createS3BlobStore(options: S3BlobStoreOptions): BlobStore {
  const { bucket: Bucket, prefix, listPageMax = s3Limits.listPageMax } = options;
  const timeouts: S3Timeouts = { ...s3Limits, ...options.timeouts };
  let loading: Promise<S3> | undefined;
  const guarded = <T>(work: (s3: S3) => Promise<T>): Promise<T> =>
    guardS3(options, async () => work(await (loading ??= loadS3(options, timeouts))));
  /** One request, which sends so many bytes. */
  const ask = <T>(request: (s3: S3, waits: S3Waits) => Promise<T>, bytes = 0): Promise<T> =>
    guarded((s3) => withDeadline(timeouts, bytes, (waits) => request(s3, waits)));

  return {
    async check() {
      // One key for all who check at once: should it be left behind, there is no second one.
      const key = `${prefix}/.check`;
      await put(key, Buffer.from('popbridge'));
      await readPage(undefined, 1);
      await remove(key);
    },
    async write(name, source) {
      const key = keyOf(name);
      const pieces = gatherPieces(source, s3Limits.pieceBytes);
      const head: Buffer[] = [];
      for (let bytes = 0; bytes <= s3Limits.partBytes;) {
        const next = await pieces.next();
        if (next.done) return put(key, Buffer.concat(head));
        head.push(next.value);
        bytes += next.value.length;
      }
      const failure = await guarded((s3) => uploadParts(s3, { Bucket, Key: key }, head, pieces, timeouts));
      if (failure) throw failure.error;
    },
    open,
    async read(name, range) {
      const stream = await open(name, range);
      return stream && buffer(stream);
    },
    async readTail(name, bytes) {
      // Not every server knows a range that counts from the end.
      const size = await sizeOf(name);
      if (size === null || size === 0) return size === null ? null : Buffer.alloc(0);
      const tail = await open(name, { start: Math.max(0, size - bytes), end: size - 1 });
      return tail && buffer(tail);
    },
    has: async (name) => (await sizeOf(name)) !== null,
    async delete(name) {
      await remove(keyOf(name));
    },
    async *list(beforeMs) {
      let token: string | undefined;
      do {
        const page = await readPage(token, listPageMax);
        for (const { Key, LastModified } of page.Contents ?? []) {
          const name = nameOf(Key);
          if (name && LastModified && isBefore(LastModified, beforeMs)) yield { ...name, writtenMs: +LastModified };
        }
        token = page.NextContinuationToken;
      } while (token !== undefined);
    },
    async discardUnfinished(beforeMs) {
      let markers: UploadMarkers | null = {};
      while (markers) {
        const page: ListMultipartUploadsCommandOutput = await readUploads(markers);
        for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
          if (nameOf(Key) && isBefore(Initiated, beforeMs)) await abortUpload(Key, UploadId);
        }
        markers = page.IsTruncated ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker } : null;
      }
    },
  };

  async function open(name: BlobName, range?: ByteRange): Promise<Readable | null> {
    checkRange(range);
    const Key = keyOf(name);
    const wanted = range && { Range: `bytes=${range.start}-${range.end}` };
    return ask(async ({ client, sdk }, waits) => {
      try {
        const answer = await client.send(new sdk.GetObjectCommand({ Bucket, Key, ...wanted }), waits);
        return openBody(answer, range, timeouts);
      } catch (error) {
        const { name: reason } = readS3Error(error);
        if (reason === 'NoSuchKey') return null;
        if (reason === 'InvalidRange') return Readable.from([]); // It begins behind the last byte.
        throw error;
      }
    });
  }

  /** In bytes; null where there is no such blob. */
  async function sizeOf(name: BlobName): Promise<number | null> {
    const Key = keyOf(name);
    const head = await ask(({ client, sdk }, waits) =>
      client.send(new sdk.HeadObjectCommand({ Bucket, Key }), waits).catch(falseWhereMissing),
    );
    if (head) return head.ContentLength ?? 0;
    // The answer to a HEAD has no body to say which of the two is missing.
    const bucketHead = await ask(({ client, sdk }, waits) =>
      client.send(new sdk.HeadBucketCommand({ Bucket }), waits).catch(falseWhereMissing),
    );
    if (!bucketHead) throw s3Failed(options, { name: 'NoSuchBucket', status: 404 });
    return null;
  }

  function keyOf(name: BlobName): string {
    checkName(name);
    return `${prefix}/${name.tenant}/${name.id}`;
  }

  /** Null for what is no blob of ours. */
  function nameOf(key = ''): BlobName | null {
    if (!key.startsWith(`${prefix}/`)) return null;
    const [tenant = '', id = '', ...more] = key.slice(prefix.length + 1).split('/');
    return more.length === 0 ? readName(tenant, id) : null;
  }

  async function put(Key: string, Body: Buffer): Promise<void> {
    const ContentLength = Body.length;
    await ask(
      ({ client, sdk }, waits) => client.send(new sdk.PutObjectCommand({ Bucket, Key, Body, ContentLength }), waits),
      ContentLength,
    );
  }

  async function remove(Key: string): Promise<void> {
    await ask(({ client, sdk }, waits) =>
      client.send(new sdk.DeleteObjectCommand({ Bucket, Key }), waits).catch(ignore('NoSuchKey')),
    );
  }

  function readPage(ContinuationToken: string | undefined, MaxKeys: number) {
    const page = { Bucket, Prefix: `${prefix}/`, ContinuationToken, MaxKeys };
    return ask(({ client, sdk }, waits) => client.send(new sdk.ListObjectsV2Command(page), waits));
  }

  function readUploads(markers: UploadMarkers) {
    const page = { Bucket, Prefix: `${prefix}/`, MaxUploads: listPageMax, ...markers };
    return ask(({ client, sdk }, waits) => client.send(new sdk.ListMultipartUploadsCommand(page), waits));
  }

  /** Another worker takes them away, too. */
  async function abortUpload(Key: string | undefined, UploadId: string | undefined): Promise<void> {
    await ask(({ client, sdk }, waits) =>
      client.send(new sdk.AbortMultipartUploadCommand({ Bucket, Key, UploadId }), waits).catch(ignore('NoSuchUpload')),
    );
  }
}

interface UploadMarkers {
  KeyMarker?: string | undefined;
  UploadIdMarker?: string | undefined;
}

/** S3 tells whole seconds, cut off. */
function isBefore(time: Date | undefined, beforeMs: number): boolean {
  return time !== undefined && time.getTime() + 1000 <= beforeMs;
}

function falseWhereMissing(error: unknown): false {
  if (readS3Error(error).status !== 404) throw error;
  return false;
}

function ignore(reason: string): (error: unknown) => void {
  return (error) => {
    if (readS3Error(error).name !== reason) throw error;
  };
}

/** @throws AppError `storage_failed` where what comes is not what was asked for. */
function openBody(answer: GetObjectCommandOutput, range: ByteRange | undefined, timeouts: S3Timeouts): Readable {
  const { ContentLength: bytes, ContentRange = '' } = answer;
  const body = answer.Body as Readable;
  if (bytes === undefined || !isRangeKept(ContentRange, range)) {
    body.destroy();
    const what = bytes === undefined ? 'tells no lengths' : 'does not answer ranges';
    throw blobStoreFailed(`The server at POPBRIDGE_S3_ENDPOINT ${what}: it cannot be used`);
  }
  return checkBody(body, { bytes, stallTimeoutMs: timeouts.stallTimeoutMs });
}

/** Content-Range (RFC 9110 §14.4): what the server says that it sends. */
function isRangeKept(contentRange: string, range: ByteRange | undefined): boolean {
  const [, start, end, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange) ?? [];
  if (!range || start === undefined) return range === undefined && start === undefined;
  return Number(start) === range.start && Number(end) === Math.min(range.end, Number(size) - 1);
}
