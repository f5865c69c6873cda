/**
 * Blobs as strings in Redis, for installations so small that a disk or a bucket of their own is not worth it. What all of
 * them take up is bounded, so that mail never crowds out what else Redis holds.
 *
 * They are as durable as Redis is, and confirmed together with the records that speak of them (redis/durability.ts).
 */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { AppError, toError } from '../../errors.ts';
import type { RedisClient } from '../../redis/client.ts';
import { isRedisUnavailable } from '../../redis/connection.ts';
import { blobDraftKey, blobKeys, blobStoreKeys } from '../../redis/keys.ts';
import { blobStoreFailed } from './blob-error.ts';
import { checkName, checkRange, readName } from './blob-name.ts';
import { gatherPieces } from './blob-pieces.ts';
import type { BlobName, BlobStore, ByteRange, ListedBlob } from './blob-store.ts';
import { redisBlobLimits } from './limits.ts';
import { dropBlob, dropIdleDraft, growDraft, keepDraft, putBlob, REFUSALS } from './redis-blob-scripts.ts';

export interface RedisBlobStoreOptions {
  /** What all blobs may take up together, half-written ones included, in bytes. */
  bytesMax: number;
  /** What one may take up, in bytes. */
  blobBytesMax?: number;
}

export function createRedisBlobStore(redis: RedisClient, options: RedisBlobStoreOptions): BlobStore {
  const { bytesMax, blobBytesMax = redisBlobLimits.blobBytesMax } = options;
  const { written, drafts, bytes } = blobStoreKeys;
  const memberOf = ({ tenant, id }: BlobName): string => `${tenant}/${id}`;
  const keyOf = (name: BlobName): string => {
    checkName(name);
    return blobKeys(name.tenant, name.id).blob;
  };
  const drop = async (name: BlobName): Promise<void> => {
    await dropBlob(redis, [keyOf(name), written, bytes], [memberOf(name)]);
  };

  return {
    async check() {
      await guardRedis(async () => {
        const probe = blobDraftKey(`check-${randomUUID()}`);
        await redis.set(probe, 'popbridge', 'PX', redisBlobLimits.draftIdleMsMax);
        await redis.del(probe);
      });
    },
    async write(name, source) {
      checkName(name);
      const pieces = gatherPieces(source, redisBlobLimits.writePieceBytes);
      const first = await pieces.next();
      if (first.done) return put(name, Buffer.alloc(0));
      const second = await pieces.next();
      if (second.done) return put(name, first.value);
      return grow(name, [first.value, second.value], pieces);
    },
    async open(name, range) {
      checkRange(range);
      const key = keyOf(name);
      const { start = 0, end = Number.MAX_SAFE_INTEGER } = range ?? {};
      const found = await guardRedis(() => openBlob(redis, key, start, end));
      return found && Readable.from(found, { objectMode: false });
    },
    async read(name, range) {
      checkRange(range);
      return readSome(keyOf(name), range.start, range.end);
    },
    readTail: async (name, bytes) => readSome(keyOf(name), -bytes, -1),
    async has(name) {
      const key = keyOf(name);
      return guardRedis(async () => (await redis.exists(key)) === 1);
    },
    async delete(name) {
      checkName(name);
      await guardRedis(() => drop(name));
    },
    list: (beforeMs) => listBlobs(redis, beforeMs),
    discardUnfinished,
  };

  async function readSome(key: string, start: number, end: number): Promise<Buffer | null> {
    return guardRedis(async () => {
      const bytes = await redis.getrangeBuffer(key, start, end);
      return bytes.length > 0 || (await redis.exists(key)) === 1 ? bytes : null;
    });
  }

  async function put(name: BlobName, piece: Buffer): Promise<void> {
    if (piece.length > blobBytesMax) throw refusal(REFUSALS.tooLarge);
    const key = keyOf(name);
    await sure(name, () => withRoom(() => putBlob(redis, [key, written, bytes], [piece, memberOf(name), bytesMax])));
  }

  /** Beside its place first, as the bytes take several steps. */
  async function grow(name: BlobName, head: Buffer[], rest: AsyncGenerator<Buffer, void>): Promise<void> {
    const id = randomUUID();
    const draft = blobDraftKey(id);
    let length = 0;
    const append = async (piece: Buffer): Promise<void> => {
      await withRoom(() => growDraft(redis, [draft, drafts, bytes], [piece, id, length, blobBytesMax, bytesMax]));
      length += piece.length;
    };
    try {
      for (const piece of head.splice(0)) await append(piece);
      for await (const piece of rest) await append(piece);
      const keys = [draft, drafts, keyOf(name), written, bytes];
      await sure(name, () => withRoom(() => keepDraft(redis, keys, [id, memberOf(name), length])));
    } catch (error) {
      await rest.return();
      // What Redis does not take away now is left to `discardUnfinished`.
      await dropBlob(redis, [draft, drafts, bytes], [id]).catch(() => undefined);
      throw error;
    }
  }

  /** Whose answer is lost may have been done. No blob is left of a write that fails. */
  async function sure(name: BlobName, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      await drop(name).catch(() => undefined);
      throw error;
    }
  }

  /** @throws AppError `storage_failed` for what a script refuses. Dead drafts do not keep the living from being written. */
  async function withRoom(step: () => Promise<unknown>): Promise<void> {
    let answer = await guardRedis(step);
    if (answer === REFUSALS.full) {
      await discardUnfinished(Date.now() - redisBlobLimits.draftIdleMsMax);
      answer = await guardRedis(step);
    }
    if (Number(answer) < 0) throw refusal(Number(answer));
  }

  async function discardUnfinished(beforeMs: number): Promise<void> {
    await guardRedis(async () => {
      for (const id of await redis.zrangebyscore(drafts, '-inf', `(${beforeMs}`)) {
        await dropIdleDraft(redis, [blobDraftKey(id), drafts, bytes], [id, beforeMs]);
      }
    });
  }

  function refusal(reason: number): AppError {
    const mebibytes = (count: number): number => Math.floor(count / 1024 / 1024);
    switch (reason) {
      case REFUSALS.tooLarge:
        return blobStoreFailed(
          `A message is larger than the Redis blob store takes (${mebibytes(blobBytesMax)} MiB): lower POPBRIDGE_MESSAGE_BYTES_MAX, or keep mail in files or S3 (POPBRIDGE_BLOB_STORE)`,
        );
      case REFUSALS.full:
        return blobStoreFailed(
          `The Redis blob store is full (${mebibytes(bytesMax)} MiB): raise POPBRIDGE_REDIS_BLOBS_BYTES_MAX, keep mail for fewer days (POPBRIDGE_RETENTION_DAYS), or keep it in files or S3 (POPBRIDGE_BLOB_STORE)`,
        );
      default:
        return blobStoreFailed('What there was of a blob was taken away, as it had not grown for too long');
    }
  }
}

/** Null where there is no such blob. The first piece comes with the answer: most reads are no longer. */
async function openBlob(
  redis: RedisClient,
  key: string,
  start: number,
  end: number,
): Promise<AsyncGenerator<Buffer, void> | null> {
  // No transaction: RedisClient refuses them while its memory is full. What is there after the rest was there all along.
  const asked = redis.pipeline().strlen(key).getrangeBuffer(key, start, lastOf(start, end)).exists(key);
  const answers = (await asked.exec()) ?? [];
  for (const [error] of answers) if (error) throw error;
  const [length, first, exists] = answers.map(([, answer]) => answer);
  return exists === 1
    ? readPieces(redis, key, { start, end: Math.min(end, Number(length) - 1) }, first as Buffer)
    : null;
}

async function* readPieces(
  redis: RedisClient,
  key: string,
  { start, end }: ByteRange,
  first: Buffer,
): AsyncGenerator<Buffer, void> {
  let piece = first;
  for (let at = start; at <= end; at += piece.length) {
    if (at > start) piece = await guardRedis(() => redis.getrangeBuffer(key, at, lastOf(at, end)));
    if (piece.length === 0) throw blobStoreFailed('A blob was deleted while it was read');
    yield piece;
  }
}

function lastOf(at: number, end: number): number {
  return Math.min(end, at + redisBlobLimits.readPieceBytes - 1);
}

/** By time, each page from where the last one ended: what is deleted meanwhile shifts nothing. */
async function* listBlobs(redis: RedisClient, beforeMs: number): AsyncGenerator<ListedBlob, void> {
  const before = `(${beforeMs * 1000}`;
  for (let after = '-inf'; ;) {
    const page = await guardRedis(() =>
      redis.zrangebyscore(blobStoreKeys.written, after, before, 'WITHSCORES', 'LIMIT', 0, redisBlobLimits.listPageMax),
    );
    for (let at = 0; at < page.length; at += 2) {
      const [tenant = '', id = ''] = (page[at] ?? '').split('/');
      const name = readName(tenant, id);
      if (name) yield { ...name, writtenMs: Number(page[at + 1]) / 1000 };
    }
    const last = page.at(-1);
    if (last === undefined) return;
    after = `(${last}`;
  }
}

async function guardRedis<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AppError) throw error;
    // The error itself holds the command that failed, and so the bytes.
    const reason = toError(error).message.slice(0, 200);
    throw blobStoreFailed(adviseOn(error, reason), new Error(reason));
  }
}

function adviseOn(error: unknown, reason: string): string {
  if (reason.startsWith('OOM')) return 'The memory of Redis is full: raise its maxmemory, or keep mail elsewhere';
  return isRedisUnavailable(error)
    ? 'Redis is away, or refuses writes'
    : 'Redis refused a command; the log has its words';
}
