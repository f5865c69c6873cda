/** Which blob store is used, and of what it is made. A blob is looked for only where the setting says that it is. */
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { BlobStore } from './blob-store.ts';
import { createFileBlobStore } from './file-blob-store.ts';
import { createRedisBlobStore } from './redis-blob-store.ts';
import { createS3BlobStore } from './s3-blob-store.ts';
import type { S3Place } from './s3-client.ts';

export type BlobStoreChoice =
  | { readonly kind: 'file' }
  | ({ readonly kind: 's3' } & Readonly<S3Place>)
  | { readonly kind: 'redis'; readonly bytesMax: number };

export interface BlobStoreParts {
  redis: Redis;
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
