/**
 * A real S3 server for tests, s3rver, on a free port and in a temporary folder. What it lacks and the blob store needs is
 * added here, on its own files: the list of multipart uploads, and their end without an object.
 */
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import S3rver from 's3rver';

/** s3rver knows this account alone. */
export const S3_ACCOUNT = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' } as const;

export interface TestS3 {
  readonly url: string;
  readonly bucket: string;
  /** Names of the files that hold objects, and parts of objects. */
  list(): Promise<string[]>;
  close(): Promise<void>;
}

export async function startS3(): Promise<TestS3> {
  const bucket = 'mail';
  const directory = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  const uploads = join(directory, bucket, '._S3rver_uploads');
  const server = new S3rver({ silent: true, directory, vhostBuckets: false, configureBuckets: [{ name: bucket }] });
  // Before its own routes.
  server.middleware.unshift(async (context, next) => {
    const { method, path, query } = context;
    if (method === 'GET' && path.startsWith(`/${bucket}`) && 'uploads' in query) {
      context.type = 'application/xml';
      context.body = await describeUploads(uploads, query);
    } else if (method === 'DELETE' && query['uploadId'] !== undefined) {
      await rm(join(uploads, query['uploadId']), { recursive: true, force: true });
      context.status = 204;
    } else {
      await next();
    }
  });
  await server.configureBuckets();
  const http = await server.listen(0, '127.0.0.1');
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    bucket,
    async list() {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true });
      const isContent = /\._S3rver_object$|^\d+$/;
      return entries.filter((entry) => entry.isFile() && isContent.test(entry.name)).map(({ name }) => name);
    },
    async close() {
      if (http.listening) {
        const closed = once(http, 'close');
        http.close();
        http.closeAllConnections();
        await closed;
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** A page of the uploads that were begun, in the order of their keys and ids. */
async function describeUploads(folder: string, query: Readonly<Record<string, string>>): Promise<string> {
  const found = await Promise.all(
    (await readdir(folder).catch(() => [])).map(async (id) => ({
      id,
      key: await readFile(join(folder, id, 'key'), 'utf8'),
      initiated: (await stat(join(folder, id, 'key'))).mtime.toISOString(),
    })),
  );
  const place = ({ key, id }: { key: string; id: string }): string => `${key}\n${id}`;
  const after = place({ key: query['key-marker'] ?? '', id: query['upload-id-marker'] ?? '' });
  const left = found
    .filter(({ key }) => key.startsWith(query['prefix'] ?? ''))
    .toSorted((a, b) => (place(a) < place(b) ? -1 : 1))
    .filter((upload) => place(upload) > after);
  const page = left.slice(0, Number(query['max-uploads'] ?? 1000));
  const last = page.at(-1);
  return `<?xml version="1.0" encoding="UTF-8"?><ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
    <IsTruncated>${page.length < left.length}</IsTruncated>
    <NextKeyMarker>${last?.key ?? ''}</NextKeyMarker><NextUploadIdMarker>${last?.id ?? ''}</NextUploadIdMarker>
    ${page
      .map(
        ({ id, key, initiated }) =>
          `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${initiated}</Initiated></Upload>`,
      )
      .join('')}
  </ListMultipartUploadsResult>`;
}
