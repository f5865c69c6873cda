/**
 * s3rver in a process of its own, forked by s3.ts: it needs ciphers that OpenSSL calls legacy, for the tokens of long lists.
 * `node --openssl-legacy-provider s3-process.ts FOLDER BUCKET` sends its port, and ends with its parent.
 *
 * What it lacks and the blob store needs is added here, on its own files: the list of multipart uploads, and their end
 * without an object. And what it does otherwise than S3 is put right: ranges that end at 0, and of empty objects.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import S3rver from 's3rver';

const [directory = '', bucket = ''] = process.argv.slice(2);
const uploads = join(directory, bucket, '._S3rver_uploads');
const server = new S3rver({ silent: true, directory, vhostBuckets: false, configureBuckets: [{ name: bucket }] });

const getObject = server.store.getObject.bind(server.store);
server.store.getObject = async (bucketName, key, range) => {
  // It takes 0 for no end.
  const object = await getObject(bucketName, key, range?.end === 0 ? { ...range, end: Object(0) as number } : range);
  if (object?.range && object.size === 0) {
    object.content?.destroy();
    object.content = null;
  }
  return object;
};

// Before its own routes.
server.middleware.unshift(async (context, next) => {
  const { method, path, query } = context;
  if (method === 'GET' && path.replace(/\/$/, '') === `/${bucket}` && 'uploads' in query) {
    context.type = 'application/xml';
    context.body = await describeUploads(query);
  } else if (method === 'DELETE' && query['uploadId'] !== undefined) {
    await rm(join(uploads, query['uploadId']), { recursive: true, force: true });
    context.status = 204;
  } else {
    await next();
  }
});

await server.configureBuckets();
const http = await server.listen(0, '127.0.0.1');
process.send?.((http.address() as AddressInfo).port);
process.on('disconnect', () => process.exit());

/** A page of the uploads that were begun, in the order of their keys and ids. */
async function describeUploads(query: Readonly<Record<string, string>>): Promise<string> {
  const found = await Promise.all(
    (await readdir(uploads).catch(() => [])).map(async (id) => ({
      id,
      key: await readFile(join(uploads, id, 'key'), 'utf8'),
      initiated: (await stat(join(uploads, id, 'key'))).mtime.toISOString(),
    })),
  );
  const place = ({ key, id }: { key: string; id: string }): string => `${key}\n${id}`;
  const after = place({ key: query['key-marker'] ?? '', id: query['upload-id-marker'] ?? '' });
  const left = found
    .filter((upload) => upload.key.startsWith(query['prefix'] ?? '') && place(upload) > after)
    .toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
  const page = left.slice(0, Number(query['max-uploads'] ?? 1000));
  const last = page.at(-1);
  const items = page.map(
    ({ id, key, initiated }) =>
      `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${initiated}</Initiated></Upload>`,
  );
  return `<?xml version="1.0" encoding="UTF-8"?>
<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<IsTruncated>${page.length < left.length}</IsTruncated>
<NextKeyMarker>${last?.key ?? ''}</NextKeyMarker><NextUploadIdMarker>${last?.id ?? ''}</NextUploadIdMarker>
${items.join('\n')}
</ListMultipartUploadsResult>`;
}
