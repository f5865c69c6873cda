import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { s3Limits } from '../../../src/message/blobs/limits.ts';
import { createS3BlobStore, type S3BlobStoreOptions } from '../../../src/message/blobs/s3-blob-store.ts';
import { openBlackHole } from '../../support/black-hole.ts';
import { S3_ACCOUNT, startS3, type TestS3 } from '../../support/s3.ts';
import { startS3Proxy, type S3Proxy } from '../../support/s3-proxy.ts';
import { chunks, createHeldSource, describeBlobStore, lent, listAll, NAME, read } from './blob-store-suite.ts';

const MIB = 1024 * 1024;

let s3: TestS3;

beforeAll(async () => {
  useAccount(S3_ACCOUNT);
  s3 = await startS3();
});
afterAll(() => s3.close());

/** By the environment, as it is in production. */
function useAccount(account: Record<string, string>): void {
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  for (const [name, value] of Object.entries(account)) vi.stubEnv(name, value);
}

function optionsFor(endpoint: string, options: Partial<S3BlobStoreOptions> = {}): S3BlobStoreOptions {
  return { bucket: 'mail', prefix: 'pop/bridge', endpoint, region: 'us-east-1', pathStyle: true, ...options };
}

describeBlobStore('S3', async () => ({
  store: createS3BlobStore(optionsFor(s3.url, { listPageMax: 10 })),
  list: s3.list,
  remove: s3.empty,
}));

function failed(message: RegExp): { code: string; message: unknown } {
  return { code: 'storage_failed', message: expect.stringMatching(message) as unknown };
}

describe('blobs in S3', () => {
  let proxy: S3Proxy;

  beforeEach(async () => {
    proxy = await startS3Proxy(s3.url);
  });
  afterEach(async () => {
    await proxy.close();
    await s3.empty();
  });

  /** Every call of a store, on blobs that are not there. */
  function callsOf(store: ReturnType<typeof createS3BlobStore>): Record<string, () => Promise<unknown>> {
    return {
      check: () => store.check(),
      write: () => store.write(NAME, chunks('x')),
      writeLarge: () => store.write(NAME, lent(12 * MIB)),
      open: () => store.open(NAME),
      range: () => store.open(NAME, { start: 0, end: 1 }),
      has: () => store.has(NAME),
      delete: () => store.delete(NAME),
      list: () => listAll(store, Date.now()),
      discardUnfinished: () => store.discardUnfinished(Date.now()),
    };
  }

  async function expectAllToFail(store: ReturnType<typeof createS3BlobStore>, message: RegExp): Promise<void> {
    const calls = Object.entries(callsOf(store));
    const errors = await Promise.all(
      calls.map(async ([name, call]) => [name, await call().catch((error: unknown) => error)] as const),
    );
    for (const [name, error] of errors) expect([name, error]).toEqual([name, expect.objectContaining(failed(message))]);
  }

  test('a blob up to 5 MiB is one request; a larger one comes in parts, none of them before it is full', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url));
    await store.write(NAME, lent(5 * MIB));
    expect(proxy.requests).toEqual(['PUT /mail/pop/bridge/default/blb_00aa?x-id=PutObject']);
    await store.write({ ...NAME, id: 'blb_00ab' }, lent(12 * MIB));
    const methods = proxy.requests
      .slice(1)
      .map((line) => line.replace(/ .*partNumber=(\d+).*/, ' $1').replace(/ .*\?.*/, ''));
    expect(methods).toEqual(['POST', 'PUT 1', 'PUT 2', 'PUT 3', 'POST']);
  });

  test('the times of S3 are cut off to seconds: what may have been written after a time is not before it', async () => {
    const store = createS3BlobStore(optionsFor(s3.url));
    const beforeMs = Date.now() - 20; // Times of files come from a coarser clock.
    await store.write(NAME, chunks('x'));
    expect(await listAll(store, beforeMs)).toEqual([]);
    expect(await listAll(store, beforeMs + 60_000)).toHaveLength(1);
  });

  test('keys that are not its own are neither listed nor discarded', async () => {
    const store = createS3BlobStore(optionsFor(s3.url));
    await store.write(NAME, chunks('x'));
    for (const prefix of ['pop/bridge/deeper', 'pop/bridge2', 'pop', 'pop/bridge/.check/x'])
      await createS3BlobStore(optionsFor(s3.url, { prefix })).write(NAME, chunks('y'));
    const { source, reached, release } = createHeldSource(12 * MIB);
    const deeper = createS3BlobStore(optionsFor(s3.url, { prefix: 'pop/bridge/deeper' }));
    const writing = deeper.write({ ...NAME, id: 'blb_00ab' }, source);
    await reached;
    expect(await listAll(store, Date.now() + 60_000)).toEqual(['default/blb_00aa']);
    await store.discardUnfinished(Date.now() + 60_000);
    release();
    await writing;
  });

  test('half-written blobs of more than a page are all discarded', async () => {
    const store = createS3BlobStore(optionsFor(s3.url, { listPageMax: 2 }));
    const held = Array.from({ length: 5 }, () => createHeldSource(12 * MIB));
    const writes = held.map(({ source }, number) => store.write({ ...NAME, id: `blb_00${number}` }, source));
    const outcomes = Promise.allSettled(writes);
    await Promise.all(held.map(({ reached }) => reached));
    await store.discardUnfinished(Date.now() + 60_000);
    expect(await s3.list()).toEqual([]);
    for (const { release } of held) release();
    expect((await outcomes).map(({ status }) => status)).toEqual(Array.from(held, () => 'rejected'));
  });

  test('a part that S3 refuses fails the write, ends the source, and leaves no part behind', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url));
    proxy.fault = (_method, path) => (path.includes('partNumber=2') ? { status: 403, body: '' } : undefined);
    let isEnded = false;
    async function* source(): AsyncGenerator<Buffer> {
      try {
        yield* lent(40 * MIB);
      } finally {
        isEnded = true;
      }
    }
    await expect(store.write(NAME, source())).rejects.toMatchObject(failed(/refused access/));
    expect(isEnded).toBe(true);
    expect(await s3.list()).toEqual([]);
  });

  test('an error of S3 that passes is tried again', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url));
    for (const [id, bytes] of [
      ['blb_00aa', 1000],
      ['blb_00ab', 12 * MIB],
    ] as const) {
      // Each request fails the first time that it is seen.
      const seen = new Set<string>();
      proxy.fault = (method, path) => {
        const line = `${method} ${path}`;
        return seen.size === seen.add(line).size ? undefined : { status: 500, body: xml('InternalError') };
      };
      await store.write({ ...NAME, id }, lent(bytes));
      expect((await buffer((await store.open({ ...NAME, id }))!)).length).toBe(Math.ceil(bytes / 65_536) * 65_536);
    }
  });

  test('an S3 that fails every time is storage_failed, for every call, after three tries', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url));
    proxy.fault = () => ({ status: 500, body: xml('InternalError') });
    await expect(store.has(NAME)).rejects.toMatchObject(failed(/overloaded or failing \(500/));
    expect(proxy.requests).toHaveLength(s3Limits.attemptsMax);
    await expectAllToFail(store, /S3 at 127\.0\.0\.1:\d+ is overloaded or failing \(500/);
    expect(await s3.list()).toEqual([]);
  });

  test('an S3 that is away is storage_failed, for every call, and says what to look at', async () => {
    const own = await startS3();
    const store = createS3BlobStore(optionsFor(own.url));
    await store.write({ ...NAME, id: 'blb_00ab' }, chunks('x'));
    await own.close();
    await expectAllToFail(store, /cannot be reached \(ECONNREFUSED\): are POPBRIDGE_S3_ENDPOINT and the network right/);
  });

  test('a name that does not resolve is storage_failed', async () => {
    const store = createS3BlobStore(optionsFor('http://s3.invalid'));
    await expect(store.check()).rejects.toMatchObject(failed(/cannot be reached \((ENOTFOUND|EAI_AGAIN)\)/));
  });

  test('an S3 whose packets are dropped is given up in time', async () => {
    expect(s3Limits.connectTimeoutMs * s3Limits.attemptsMax).toBeLessThan(8_000);
    const hole = await openBlackHole('127.0.0.1');
    try {
      const options = optionsFor(`http://127.0.0.1:${hole.port}`, { timeouts: { connectTimeoutMs: 100 } });
      await expectAllToFail(createS3BlobStore(options), /did not answer in time/);
    } finally {
      await hole.close();
    }
  });

  test('an S3 that takes requests and never answers is given up in time', async () => {
    expect((s3Limits.answerTimeoutMs + s3Limits.pauseMsMax) * s3Limits.attemptsMax).toBeLessThan(25_000);
    const timeouts = { answerTimeoutMs: 100, pauseMsMax: 50, uploadBytesPerMsMin: 100_000 };
    const store = createS3BlobStore(optionsFor(proxy.url, { timeouts }));
    proxy.fault = () => 'stall';
    await expectAllToFail(store, /did not answer in time/);
    // And one that stalls in the middle of a blob.
    for (const at of ['partNumber=2', 'uploadId=']) {
      proxy.fault = (method, path) => (method !== 'DELETE' && path.includes(at) ? 'stall' : undefined);
      await expect(store.write(NAME, lent(12 * MIB))).rejects.toMatchObject(failed(/did not answer in time/));
      await proxy.idle();
      expect(await s3.list()).toEqual([]);
    }
    proxy.fault = (method) => (method === 'POST' ? { stallAfterBytes: 20 } : undefined);
    await expect(store.write(NAME, lent(12 * MIB))).rejects.toMatchObject(failed(/did not answer in time/));
  });

  test('an error whose text never ends is given up in time', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url, { timeouts: { answerTimeoutMs: 100, pauseMsMax: 0 } }));
    proxy.fault = () => ({ stallAfterBytes: 20 });
    await expect(store.open(NAME)).rejects.toMatchObject(failed(/did not answer in time/));
    await proxy.idle();
  });

  test.each([
    [
      'SignatureDoesNotMatch',
      403,
      /refused access to the bucket mail \(403 SignatureDoesNotMatch\): are the credentials/,
    ],
    ['AccessDenied', 403, /refused access to the bucket mail \(403 AccessDenied\): .* allow s3:GetObject/],
    ['NoSuchBucket', 404, /There is no bucket mail at S3 at 127\.0\.0\.1:\d+: make it, or set POPBRIDGE_S3_BUCKET/],
    ['PermanentRedirect', 301, /in another region: set POPBRIDGE_S3_REGION/],
    ['SlowDown', 503, /overloaded or failing \(503 SlowDown\)/],
    ['<b>odd</b>', 418, /S3 at 127\.0\.0\.1:\d+ answered 418 \w+/],
  ])('says of %s (%d) what to do', async (code, status, message) => {
    const store = createS3BlobStore(optionsFor(proxy.url));
    proxy.fault = () => ({ status, body: xml(code) });
    for (const call of [() => store.write(NAME, chunks('x')), () => store.open(NAME), () => store.check()])
      await expect(call()).rejects.toMatchObject(failed(message));
  });

  test('a bucket that is not there is told from a blob that is not there', async () => {
    const store = createS3BlobStore(optionsFor(s3.url, { bucket: 'elsewhere' }));
    const { delete: _, ...calls } = callsOf(store);
    for (const call of Object.values(calls))
      await expect(call()).rejects.toMatchObject(failed(/There is no bucket elsewhere/));
  });

  test('credentials that are wrong are told, and so is that there are none', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'WRONG');
    try {
      const refused = /refused access to the bucket mail \(403 (?:InvalidAccessKeyId|an error)\)/;
      // The test's own list of uploads asks nobody who he is.
      const { discardUnfinished: _, ...calls } = callsOf(createS3BlobStore(optionsFor(s3.url)));
      for (const call of Object.values(calls)) await expect(call()).rejects.toMatchObject(failed(refused));
      vi.stubEnv('AWS_ACCESS_KEY_ID', '');
      vi.stubEnv('HOME', '/nonexistent');
      await expectAllToFail(createS3BlobStore(optionsFor(s3.url)), /no credentials for S3: set AWS_ACCESS_KEY_ID/);
    } finally {
      vi.unstubAllEnvs();
      useAccount(S3_ACCOUNT);
    }
  });

  test('who asks is in no error, whatever the server repeats', async () => {
    const secrets = {
      AWS_ACCESS_KEY_ID: 'CANARYKEYID',
      AWS_SECRET_ACCESS_KEY: 'canarysecret',
      AWS_SESSION_TOKEN: 'canary-token-7',
    };
    useAccount(secrets);
    try {
      const bodies = [
        '<Error><Code>SignatureDoesNotMatch</Code><Message>ECHO</Message><StringToSign>ECHO</StringToSign></Error>',
        '<Error><Code>ECHO</Code></Error>',
        '<Error><Code>TOKEN</Code></Error>',
        'ECHO',
        '<!DOCTYPE html><p>ECHO',
        '<Error><Code>ECHO',
      ];
      const lines: string[] = [];
      const logger = pino({ level: 'trace' }, { write: (line) => void lines.push(line) });
      for (const status of [200, 301, 400, 403, 404, 500]) {
        for (const body of bodies) {
          const store = createS3BlobStore(optionsFor(proxy.url));
          proxy.fault = () => ({ status, body });
          const calls = Object.values(callsOf(store));
          const errors = await Promise.all(calls.map((call) => call().catch((error: unknown) => error)));
          for (const error of errors) logger.error({ err: error }, 'failed');
        }
      }
      expect(proxy.requests.length).toBeGreaterThan(100);
      expect(lines.join('\n')).toContain('S3 at 127.0.0.1');
      expect(lines.join('\n')).not.toMatch(/canary/i);
    } finally {
      vi.unstubAllEnvs();
      useAccount(S3_ACCOUNT);
    }
  });

  test('a body that is cut off is an error, and no short blob', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url));
    await store.write(NAME, lent(MIB));
    proxy.fault = (method) => (method === 'GET' ? { cutAfterBytes: 300_000 } : undefined);
    await expect(buffer((await store.open(NAME))!)).rejects.toMatchObject(
      failed(/S3 broke off 748576 bytes before the end of a blob/),
    );
    const range = { start: 0, end: 399_999 };
    await expect(buffer((await store.open(NAME, range))!)).rejects.toMatchObject(failed(/broke off 100000 bytes/));
    await proxy.idle();
  });

  test('a body that stalls is an error after a while', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url, { timeouts: { stallTimeoutMs: 100 } }));
    await store.write(NAME, lent(MIB));
    proxy.fault = (method) => (method === 'GET' ? { stallAfterBytes: 300_000 } : undefined);
    await expect(buffer((await store.open(NAME))!)).rejects.toMatchObject(failed(/sent nothing for 0\.1 s/));
    await proxy.idle();
  });

  test('a reader that gives up frees the connection', async () => {
    const store = createS3BlobStore(optionsFor(proxy.url));
    await store.write(NAME, lent(12 * MIB));
    for (let round = 0; round < 3; round += 1) {
      const stream = (await store.open(NAME))!;
      await once(stream, 'readable');
      expect(proxy.busy).toBe(1);
      stream.destroy();
      await proxy.idle();
      expect(proxy.busy).toBe(0);
    }
    const stream = (await store.open(NAME))!;
    stream.destroy();
    await proxy.idle();
  });

  test.each([[null], ['bytes=4-9'], ['bytes=3-8']])(
    'a server that sends another range than was asked for is refused: %s',
    async (range) => {
      const store = createS3BlobStore(optionsFor(proxy.url));
      await store.write(NAME, chunks('0123456789'));
      proxy.range = range;
      await expect(store.open(NAME, { start: 4, end: 8 })).rejects.toMatchObject(failed(/POPBRIDGE_S3_ENDPOINT/));
      await proxy.idle();
    },
  );

  test('what is no S3 is storage_failed', async () => {
    const server = createServer((socket) => socket.on('error', () => undefined).end('220 mail.example.com ESMTP\r\n'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      await expectAllToFail(createS3BlobStore(optionsFor(`http://127.0.0.1:${port}`)), /S3 at 127\.0\.0\.1/);
      await expectAllToFail(createS3BlobStore(optionsFor(`https://127.0.0.1:${port}`)), /S3 at 127\.0\.0\.1/);
    } finally {
      server.close();
    }
  });

  test('a source that waits for long is waited for', async () => {
    const store = createS3BlobStore(optionsFor(s3.url, { timeouts: { answerTimeoutMs: 2_000 } }));
    const { source, reached, release } = createHeldSource(7 * MIB);
    const writing = store.write(NAME, source);
    await reached;
    release();
    await writing;
    expect((await read(store, NAME))?.endsWith('the end')).toBe(true);
  });
});

function xml(code: string): string {
  return `<?xml version="1.0"?><Error><Code>${code.replaceAll('<', '&lt;')}</Code><Message>no</Message></Error>`;
}
