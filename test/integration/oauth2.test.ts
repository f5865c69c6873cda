/** Mailboxes that are logged in to by OAuth2: the real service, a real Dovecot, and a token endpoint that may lie. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { findSecrets } from '../support/secret-search.ts';
import { startService, type FetchBody, type Service } from '../support/service.ts';
import { issue, say, startTokenEndpoint, type TokenEndpoint } from '../support/token-endpoint.ts';

type Mailbox = components['schemas']['Mailbox'];
type Verification = components['schemas']['Verification'];

const MAIL = Buffer.from('Subject: one\r\n\r\nText.\r\n');
const secretOf = (name: string): string => `${name}-${randomBytes(12).toString('hex')}`;
const SECRETS = ['refresh', 'rotated', 'client', 'wrong'].map(secretOf);
const [REFRESH_TOKEN, ROTATED, CLIENT_SECRET, WRONG_TOKEN] = SECRETS as [string, string, string, string];

describe.skipIf(!dovecotAvailable())('OAuth2 (skipped where dovecot-pop3d is not installed)', () => {
  let service: Service;
  let dovecot: Dovecot;
  let endpoint: TokenEndpoint;
  let goodToken: string;
  let answers = '';

  beforeAll(async () => {
    [service, dovecot] = await Promise.all([
      startService({ env: { POPBRIDGE_LOG_LEVEL: 'trace' } }),
      startDovecot({ users: { jo: { password: 'password-of-jo', mails: [MAIL] } }, sasl: true }),
    ]);
    goodToken = dovecot.credentials('jo').accessToken;
  });
  afterAll(async () => {
    await service?.close();
    await dovecot?.close();
  });
  beforeEach(async () => {
    endpoint = await startTokenEndpoint(issue(goodToken));
    onTestFinished(() => endpoint.close());
  });

  const refreshing = (more: object = {}) => ({
    grant: 'refresh_token',
    tokenEndpoint: endpoint.url,
    clientId: 'app',
    clientSecret: CLIENT_SECRET,
    refreshToken: REFRESH_TOKEN,
    ...more,
  });
  const sourceOf = (oauth2: object) => ({
    host: '127.0.0.1',
    port: dovecot.tlsPort,
    ca: dovecot.ca,
    username: 'jo',
    oauth2,
  });

  async function call(method: string, path: string, body?: unknown, status = 200): Promise<unknown> {
    const answer = await service.api(method, path, { body, headers: { prefer: 'wait=30' } });
    expect(answer.status, answer.text).toBe(status);
    answers += answer.text;
    return answer.json();
  }
  const store = async (oauth2: object): Promise<Mailbox> =>
    (await call('POST', '/v1/mailboxes', { source: sourceOf(oauth2), alias: randomUUID() }, 201)) as Mailbox;
  const change = async ({ id }: Mailbox, oauth2: object): Promise<Mailbox> =>
    (await call('PATCH', `/v1/mailboxes/${id}`, { source: { oauth2 } })) as Mailbox;
  const fetchNow = async ({ id }: Mailbox): Promise<FetchBody> =>
    (await call('POST', `/v1/mailboxes/${id}/fetches`)) as FetchBody;
  const look = async ({ id }: Mailbox): Promise<Mailbox> => (await call('GET', `/v1/mailboxes/${id}`)) as Mailbox;

  it.each(['refresh_token', 'client_credentials', 'access_token'])(
    'fetches with inline settings by the grant %s',
    async (grant) => {
      const client = { tokenEndpoint: endpoint.url, clientId: 'app', clientSecret: CLIENT_SECRET };
      const given = {
        refresh_token: refreshing(),
        client_credentials: { grant, ...client },
        access_token: { grant, accessToken: goodToken },
      }[grant] as object;
      const fetch = await call('POST', '/v1/fetches', { source: sourceOf(given) });
      expect(fetch).toMatchObject({ state: 'succeeded', counts: { listed: 1 }, error: null });
      expect(endpoint.asks.map(({ form }) => form['grant_type'])).toEqual(grant === 'access_token' ? [] : [grant]);
    },
  );

  it('a stored mailbox asks for a token once, keeps a rotated refresh token, and shows neither', async () => {
    endpoint.answer = issue(goodToken, { refresh_token: ROTATED, expires_in: 1 });
    const mailbox = await store(refreshing());
    expect(mailbox.auth).toEqual({
      type: 'oauth2',
      grant: 'refresh_token',
      endpoint: endpoint.url,
      clientId: 'app',
      expiresAt: null,
    });
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'succeeded' });
    endpoint.answer = issue(goodToken);
    await expect.poll(async () => (await fetchNow(mailbox)) && endpoint.asks.length).toBe(2);
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'succeeded' });
    expect(endpoint.asks.map(({ form }) => form['refresh_token'])).toEqual([REFRESH_TOKEN, ROTATED]);
  });

  it('a token that the server refuses, though it was kept, is got anew before that counts', async () => {
    endpoint.answer = issue(WRONG_TOKEN);
    const mailbox = await store(refreshing());
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'failed', error: { code: 'upstream_auth_failed' } });
    endpoint.answer = issue(goodToken);
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'succeeded' });
    expect(endpoint.asks).toHaveLength(2);
  });

  it('a consent that is gone waits for another at once, which makes it well again', async () => {
    const description = `No more ${REFRESH_TOKEN} of ${CLIENT_SECRET}`;
    endpoint.answer = say(400, { error: 'invalid_grant', error_description: description });
    const mailbox = await store(refreshing());
    expect(await fetchNow(mailbox)).toMatchObject({
      state: 'failed',
      error: { code: 'oauth2_consent_gone', phase: 'token', retryable: false },
    });
    expect(await look(mailbox)).toMatchObject({ state: 'needs_credentials', failure: { phase: 'token' } });
    expect(await call('POST', `/v1/mailboxes/${mailbox.id}/fetches`, undefined, 409)).toMatchObject({
      detail: expect.stringContaining('PATCH') as string,
    });
    endpoint.answer = issue(goodToken);
    expect(await change(mailbox, refreshing({ refreshToken: ROTATED }))).toMatchObject({ state: 'ok' });
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'succeeded' });
  });

  it('a pushed token that has expired waits for the next, which is pushed by PATCH', async () => {
    const expiresAt = '2026-01-01T00:00:00.000Z';
    const mailbox = await store({ grant: 'access_token', accessToken: WRONG_TOKEN, expiresAt });
    expect(mailbox.auth).toMatchObject({ grant: 'access_token', endpoint: null, expiresAt });
    expect(await fetchNow(mailbox)).toMatchObject({ error: { code: 'oauth2_token_expired' } });
    expect(await look(mailbox)).toMatchObject({ state: 'needs_credentials' });
    await change(mailbox, { grant: 'access_token', accessToken: goodToken });
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'succeeded' });
  });

  it('an endpoint in trouble is no refusal: the fetch waits for as long as it says, and goes on', async () => {
    let isWell = false;
    endpoint.answer = (ask, response) => {
      const answer = isWell ? issue(goodToken) : say(503, {}, { 'retry-after': '1' });
      isWell = true;
      answer(ask, response);
    };
    const mailbox = await store(refreshing());
    expect(await fetchNow(mailbox)).toMatchObject({ state: 'succeeded', attempts: 2 });
    expect(await look(mailbox)).toMatchObject({ state: 'ok', failures: 0 });
  });

  it('trying settings says what the token endpoint says, and that a refresh token may be spent', async () => {
    const verify = async (oauth2: object): Promise<Verification> =>
      (await call('POST', '/v1/mailboxes/verify', { source: sourceOf(oauth2) })) as Verification;
    endpoint.answer = issue(goodToken, { refresh_token: ROTATED });
    expect(await verify(refreshing())).toMatchObject({
      ok: true,
      maildrop: { messages: 1 },
      warnings: [{ code: 'refresh_token_spent' }],
    });
    endpoint.answer = issue(WRONG_TOKEN);
    expect(await verify(refreshing())).toMatchObject({
      failure: { code: 'upstream_auth_failed', phase: 'login', hint: expect.stringContaining('scope') as string },
    });
    endpoint.answer = say(401, { error: 'invalid_client' });
    expect(await verify(refreshing())).toMatchObject({
      ok: false,
      failure: { code: 'oauth2_refused', phase: 'token', retryable: false },
    });
    endpoint.answer = say(200, {});
    expect(await verify(refreshing())).toMatchObject({ failure: { code: 'oauth2_unavailable', retryable: true } });
  });

  it('is imported as any other mailbox', async () => {
    const line = JSON.stringify({ source: sourceOf(refreshing()), alias: randomUUID() });
    const headers = { 'content-type': 'application/x-ndjson' };
    const answer = await service.api('POST', '/v1/mailboxes/import', { body: line, headers });
    expect(answer.json()).toMatchObject({ created: 1, refused: 0 });
    answers += answer.text;
  });

  it('what cannot be is refused when it is given', async () => {
    const refused = (source: object): Promise<unknown> => call('POST', '/v1/mailboxes', { source }, 400);
    const { oauth2: _none, ...place } = sourceOf({});
    await refused(place);
    await refused({ ...place, password: 'p', oauth2: refreshing() });
    await refused(sourceOf(refreshing({ preset: 'google' })));
    await refused(sourceOf(refreshing({ tokenEndpoint: undefined, preset: 'google', authority: 'example.com' })));
    await refused(sourceOf({ grant: 'refresh_token', preset: 'google', clientId: 'app' }));
    await refused(sourceOf({ grant: 'client_credentials', preset: 'microsoft', clientId: 'a', clientSecret: 'b' }));
    await refused(sourceOf({ grant: 'password' }));
    expect(await refused({ ...sourceOf(refreshing()), tls: 'none' })).toMatchObject({
      errors: [{ pointer: '/source/tls' }],
    });
    const elsewhere = sourceOf(refreshing({ tokenEndpoint: 'http://192.0.2.1/token' }));
    expect(await call('POST', '/v1/fetches', { source: elsewhere }, 422)).toMatchObject({ code: 'egress_blocked' });
    const mailbox = await store(refreshing());
    await call('PATCH', `/v1/mailboxes/${mailbox.id}`, { source: { host: '127.0.0.2' } }, 400);
    await call('PATCH', `/v1/mailboxes/${mailbox.id}`, { source: { password: 'p', oauth2: refreshing() } }, 400);
    expect(
      await call('PATCH', `/v1/mailboxes/${mailbox.id}`, { source: { password: 'password-of-jo' } }),
    ).toMatchObject({ auth: { type: 'password', grant: null, endpoint: null } });
  });

  it('no secret of all this has come out: in answers, in the log or at rest', async () => {
    expect(answers).not.toBe('');
    const secrets = [...SECRETS, goodToken];
    const { stdout, stderr } = service.output();
    expect(findSecrets(answers, secrets)).toEqual([]);
    expect(findSecrets(stdout + stderr, secrets)).toEqual([]);
    await service.kill();
    const files = await readdir(service.dataDir, { recursive: true, withFileTypes: true });
    for (const file of files.filter((entry) => entry.isFile())) {
      const bytes = await readFile(join(file.parentPath, file.name), 'latin1');
      expect([file.name, findSecrets(bytes, secrets)]).toEqual([file.name, []]);
    }
  });
});
