/** The whole service on each blob store; and what becomes of a fetch when there is no room, or the store is away. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { S3_ACCOUNT, startS3 } from '../support/s3.ts';
import { startS3Proxy } from '../support/s3-proxy.ts';
import { eventually, startService, type FetchRequestBody, type Service } from '../support/service.ts';

const LARGE = Buffer.from(
  `Subject: large\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=large.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n${`${'QUJD'.repeat(19)}\r\n`.repeat(100_000)}`,
);
const MAILS = [...sandboxMails().map(({ raw }) => raw), LARGE];

async function fakeServer(mails: readonly Buffer[] = MAILS): Promise<FakePop3> {
  const server = await startFakePop3({ mails });
  onTestFinished(() => server.close());
  return server;
}

async function start(env: Record<string, string>): Promise<Service> {
  const service = await startService({ env });
  onTestFinished(() => service.close());
  return service;
}

function request(server: FakePop3, more: Partial<FetchRequestBody> = {}): FetchRequestBody {
  return { source: { host: server.host, port: server.port, tls: 'none', username: 'u', password: 'p' }, ...more };
}

/** S3 behind a proxy that can be made to fail. */
async function startBucket() {
  const s3 = await startS3();
  onTestFinished(() => s3.close());
  const proxy = await startS3Proxy(s3.url);
  onTestFinished(() => proxy.close());
  const env = {
    ...S3_ACCOUNT,
    POPBRIDGE_BLOB_STORE: 's3',
    POPBRIDGE_S3_BUCKET: s3.bucket,
    POPBRIDGE_S3_ENDPOINT: proxy.url,
  };
  return { env, proxy };
}

describe.each([
  ['files', async () => ({})],
  ['S3', async () => (await startBucket()).env],
  ['Redis', async () => ({ POPBRIDGE_BLOB_STORE: 'redis' })],
] as const)('mail that is kept in %s', (_, settings) => {
  it(
    'is there whole: its bytes, its attachments, any range of them; and is gone when it is deleted',
    { timeout: 60_000 },
    async () => {
      const service = await start(await settings());
      const server = await fakeServer();
      const fetch = await service.fetchMail(request(server, { delete: 'stored' }));
      expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: MAILS.length, deleted: MAILS.length } });
      const messages = await service.listMessages(fetch.id);
      for (const [at, message] of messages.entries()) {
        const raw = await service.api('GET', `/v1/messages/${message.id}/raw`);
        expect(MAILS[at]!.equals(raw.bytes)).toBe(true);
        for (const { id, size } of message.attachments) {
          const path = `/v1/messages/${message.id}/attachments/${id}`;
          const whole = await service.api('GET', path);
          expect(whole.bytes).toHaveLength(size);
          const part = await service.api('GET', path, { headers: { range: `bytes=${size - 3}-` } });
          expect(part.status).toBe(206);
          expect(whole.bytes.subarray(-3).equals(part.bytes)).toBe(true);
        }
      }
      expect(messages.at(-1)?.attachments).toMatchObject([{ size: 5_700_000 }]);
      for (const { id } of messages) expect((await service.api('DELETE', `/v1/messages/${id}`)).status).toBe(204);
      expect(await service.listMessages(fetch.id)).toEqual([]);
      expect((await service.api('GET', '/v1/messages')).json()).toEqual({ items: [], nextCursor: null });
    },
  );
});

it(
  'an S3 that is away fails the fetch, deletes nothing upstream, and gets the mail when it is back',
  { timeout: 90_000 },
  async () => {
    const { env, proxy } = await startBucket();
    const service = await start(env);
    const server = await fakeServer(MAILS.slice(0, 5));
    proxy.fault = () => ({ status: 503 });
    const { id } = (
      await service.api('POST', '/v1/fetches', { body: request(server, { delete: 'stored' }) })
    ).asFetch();
    const look = async () => (await service.api('GET', `/v1/fetches/${id}`)).asFetch();
    const waiting = await eventually(look, ({ error }) => error !== null, 40_000);
    expect(waiting).toMatchObject({
      state: 'queued',
      error: { code: 'storage_failed', retryable: true },
      counts: { deleted: 0 },
    });
    expect(server.mails).toHaveLength(5);
    expect((await service.api('GET', '/readyz')).status).toBe(200);
    proxy.fault = undefined;
    const ended = await eventually(look, ({ state }) => state !== 'queued' && state !== 'active', 40_000);
    expect(ended).toMatchObject({ state: 'succeeded', counts: { retrieved: 5, deleted: 5 } });
  },
);

it('a tenant whose quota is used up is told so, and loses nothing', async () => {
  const service = await start({ POPBRIDGE_QUOTA_MESSAGES: '5' });
  const server = await fakeServer(MAILS.slice(0, 8));
  const over = await service.fetchMail(request(server, { delete: 'stored' }));
  expect(over).toMatchObject({
    state: 'failed',
    error: { code: 'quota_exceeded', nextAttemptAt: null },
    counts: { deleted: 0 },
  });
  expect(server.mails).toHaveLength(8);
  const within = await service.fetchMail(request(server, { limits: { messages: 5 } }));
  expect(within).toMatchObject({ state: 'succeeded', counts: { retrieved: 5 } });
  // Mail that is here already takes no more room; more of it does.
  expect(await service.fetchMail(request(server, { limits: { messages: 5 } }))).toMatchObject({
    state: 'failed',
    error: { code: 'quota_exceeded' },
  });
});

it('a fetch says how long its mail is kept', async () => {
  const service = await start({});
  const server = await fakeServer(MAILS.slice(0, 1));
  const fetch = await service.fetchMail({ ...request(server), retentionDays: 30 });
  const [message] = await service.listMessages(fetch.id);
  const days = (Date.parse(message!.expiresAt) - Date.parse(message!.fetchedAt)) / (24 * 60 * 60 * 1000);
  expect(days).toBe(30);
});
