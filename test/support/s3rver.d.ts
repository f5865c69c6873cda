/** What the tests use of s3rver, which has no types of its own. */
declare module 's3rver' {
  import type { Server } from 'node:http';
  import type { Readable } from 'node:stream';

  interface Context {
    readonly method: string;
    readonly path: string;
    readonly query: Readonly<Record<string, string>>;
    status: number;
    type: string;
    body: unknown;
  }

  interface StoredObject {
    readonly size: number;
    readonly range?: unknown;
    content: Readable | null;
  }

  export default class S3rver {
    constructor(options: {
      silent: boolean;
      directory: string;
      vhostBuckets: boolean;
      configureBuckets: readonly { name: string }[];
    });
    readonly middleware: ((context: Context, next: () => Promise<void>) => Promise<void>)[];
    readonly store: {
      getObject(bucket: string, key: string, range?: { start?: number; end?: number }): Promise<StoredObject | null>;
    };
    configureBuckets(): Promise<unknown>;
    listen(port: number, address: string): Promise<Server>;
  }
}
