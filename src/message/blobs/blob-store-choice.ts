/** Which blob store is used, and of what it is made. A blob is looked for only where the setting says that it is. */
import { join } from 'node:path';
import type { BlobStore } from './blob-store.ts';
import { createFileBlobStore } from './file-blob-store.ts';
import { redisBlobLimits } from './limits.ts';
import { createRedisBlobStore } from './redis-blob-store.ts';
import { createS3BlobStore } from './s3-blob-store.ts';
import type { S3Place } from './s3-client.ts';
import type { RedisClient } from '../../redis/client.ts';

export type BlobStoreChoice =
  | { readonly kind: 'file' }
  | ({ readonly kind: 's3' } & Readonly<S3Place>)
  | { readonly kind: 'redis'; readonly bytesMax: number };

/** A message of more bytes fits into no blob of this store, however often it is tried. */
export function messageBytesMaxOf(choice: BlobStoreChoice): number {
  // What sealing adds is far less than a hundredth.
  return choice.kind === 'redis' ? Math.floor(redisBlobLimits.blobBytesMax * 0.99) : Number.MAX_SAFE_INTEGER;
}

export interface BlobStoreParts {
  redis: RedisClient;
  dataDir: string;
}

export function createBlobStore(choice: BlobStoreChoice, { redis, dataDir }: BlobStoreParts): BlobStore {
  switch (choice.kind) {
    case 'file':
      return createFileBlobStore(join(dataDir, 'blobs'));
    case 's3':
      return createS3BlobStore(choice);
    case 'redis':
      return createRedisBlobStore(redis, { bytesMax: choice.bytesMax });
  }
}
