/** Access tokens from a real endpoint over real HTTP, kept in a real Redis. */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { parseEgressAllow } from '../../../src/egress/allow-rule.ts';
import { createFormPost } from '../../../src/egress/form-post.ts';
import { formAnswerBytesMax } from '../../../src/egress/limits.ts';
import { createEgressPolicy } from '../../../src/egress/policy.ts';
import { createCredentialStore, type Credentials } from '../../../src/mailbox/credentials.ts';
import { toOAuth2Credentials, type GrantRequest } from '../../../src/mailbox/oauth2/grant.ts';
import { accessTokenCharsMax, refreshAheadMs } from '../../../src/mailbox/oauth2/limits.ts';
import { createLogins, type CredentialHolder, type Login } from '../../../src/mailbox/oauth2/logins.ts';
import { createTokenStore } from '../../../src/mailbox/oauth2/token-store.ts';
import { createSealer } from '../../../src/mailbox/sealing.ts';
import { tokenKeys } from '../../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { findSecrets, showAll } from '../../support/secret-search.ts';
import { issue, say, startTokenEndpoint, type TokenEndpoint } from '../../support/token-endpoint.ts';

const REFRESH_TOKEN = 'refresh-token-of-jo-1';
const CLIENT_SECRET = 'client-secret+of/app=';
const SECRETS = [REFRESH_TOKEN, CLIENT_SECRET];
const TIMEOUT_MS = 500;

let server: TestRedis;
let redis: Redis;
let endpoint: TokenEndpoint;
let aheadMs: number;
let owner: { tenant: string; id: string };
const never = new AbortController().signal;
const sealer = createSealer(`k1:${randomBytes(32).toString('base64')}`);

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  aheadMs = 0;
  owner = { tenant: 'default', id: randomUUID() };
  endpoint = await startTokenEndpoint(issue('token-1'));
  onTestFinished(() => endpoint.close());
});

function createLogin(allow = '127.0.0.0/8:*') {
  const egress = createEgressPolicy({ allow: parseEgressAllow(allow) });
  const forms = createFormPost({
    resolve: egress.resolveWebhook,
    proxy: null,
    userAgent: 'test',
    timeoutMs: TIMEOUT_MS,
  });
  onTestFinished(() => forms.close());
  return createLogins({
    clock: { now: () => Date.now() + aheadMs, sleep: (ms) => delay(Math.min(ms, 5)) },
    tokens: createTokenStore(redis, sealer),
    checkEndpoint: egress.checkTokenEndpoint,
    post: forms.post,
    uniqueId: randomUUID,
  });
}

const refreshing = (more: object = {}): Credentials =>
  toOAuth2Credentials({
    grant: 'refresh_token',
    tokenEndpoint: endpoint.url,
    clientId: 'app',
    clientSecret: CLIENT_SECRET,
    refreshToken: REFRESH_TOKEN,
    ...more,
  });

async function hold(credentials: Credentials): Promise<CredentialHolder> {
  const store = createCredentialStore(redis, sealer, 60_000);
  await store.put(owner, credentials);
  return { ...owner, open: () => store.open(owner), replace: (was, now) => store.replace(owner, was, now) };
}

const tokenOf = ({ secret }: Login): string => ('accessToken' in secret ? secret.accessToken : 'none');
const refreshTokenOf = (credentials: Credentials): string | null =>
  credentials.type === 'oauth2' && credentials.grant.kind === 'refresh_token' ? credentials.grant.refreshToken : null;

async function failureOf(work: Promise<unknown>): Promise<Error & { code?: string; retryAfterMs?: number | null }> {
  const error = await work.then(
    () => expect.fail('It went well'),
    (thrown: unknown) => thrown as Error,
  );
  expect(findSecrets(showAll(error), SECRETS)).toEqual([]);
  return error;
}

describe('an access token', () => {
  test('is asked for by the refresh token, and kept sealed until it expires', async () => {
    const logins = createLogin();
    const holder = await hold(refreshing({ scope: 'mail offline_access' }));
    expect(tokenOf(await logins.open(holder, never))).toBe('token-1');
    expect(tokenOf(await logins.open(holder, never))).toBe('token-1');
    expect(endpoint.asks.map(({ form }) => form)).toEqual([
      {
        grant_type: 'refresh_token',
        refresh_token: REFRESH_TOKEN,
        client_id: 'app',
        client_secret: CLIENT_SECRET,
        scope: 'mail offline_access',
      },
    ]);
    const { token } = tokenKeys(owner.tenant, owner.id);
    expect(findSecrets((await redis.get(token)) ?? '', ['token-1'])).toEqual([]);
    const ttlMs = await redis.pttl(token);
    expect(ttlMs).toBeGreaterThan(3_500_000);
    expect(ttlMs).toBeLessThanOrEqual(3_600_000);
  });

  test('is asked for by the client alone, with its secret in the header where it is so wanted', async () => {
    const credentials = toOAuth2Credentials({
      grant: 'client_credentials',
      tokenEndpoint: endpoint.url,
      clientId: 'app',
      clientSecret: 'plain',
      clientAuthentication: 'basic',
    });
    expect(tokenOf(await createLogin().open(await hold(credentials), never))).toBe('token-1');
    expect(endpoint.asks).toMatchObject([
      {
        form: { grant_type: 'client_credentials', scope: 'https://outlook.office365.com/.default' },
        authorization: `Basic ${Buffer.from('app:plain').toString('base64')}`,
      },
    ]);
  });

  test('is got anew some minutes before it expires, and an endpoint in trouble then does no harm', async () => {
    const logins = createLogin();
    const holder = await hold(refreshing());
    await logins.open(holder, never);
    aheadMs = 3_600_000 - refreshAheadMs + 1_000;
    endpoint.answer = say(503, {});
    expect(tokenOf(await logins.open(holder, never))).toBe('token-1');
    await redis.del(tokenKeys(owner.tenant, owner.id).tokenPause);
    endpoint.answer = issue('token-2');
    expect(tokenOf(await logins.open(holder, never))).toBe('token-2');
    expect(endpoint.asks).toHaveLength(3);
  });

  test('is got once for twenty who ask at once', async () => {
    endpoint.answer = (ask, response) => void setTimeout(() => issue('token-1')(ask, response), 50);
    const holder = await hold(refreshing());
    const opened = await Promise.all(Array.from({ length: 20 }, () => createLogin().open(holder, never)));
    expect(new Set(opened.map(tokenOf))).toEqual(new Set(['token-1']));
    expect(endpoint.asks).toHaveLength(1);
  });

  test('that was refused, though kept, is got anew once', async () => {
    const logins = createLogin();
    const holder = await hold(refreshing());
    expect(await (await logins.open(holder, never)).renew()).toBeNull();
    const kept = await logins.open(holder, never);
    endpoint.answer = issue('token-2');
    const renewed = await kept.renew();
    expect(renewed && tokenOf(renewed)).toBe('token-2');
    expect(await renewed?.renew()).toBeNull();
  });

  test('of another grant is none of this one', async () => {
    const logins = createLogin();
    await logins.open(await hold(refreshing()), never);
    endpoint.answer = issue('token-2');
    const other = await hold(refreshing({ refreshToken: 'another' }));
    expect(tokenOf(await logins.open(other, never))).toBe('token-2');
  });

  test('that was pushed is used as it is, until it expires', async () => {
    const expiresAt = new Date(Date.now() + 60_000).toISOString();
    const holder = await hold(toOAuth2Credentials({ grant: 'access_token', accessToken: 'pushed', expiresAt }));
    expect(tokenOf(await createLogin().open(holder, never))).toBe('pushed');
    aheadMs = 61_000;
    const error = await failureOf(createLogin().open(holder, never));
    expect(error).toMatchObject({ code: 'oauth2_token_expired', message: expect.stringContaining('PATCH') as string });
    expect(endpoint.asks).toEqual([]);
  });
});

describe('a refresh token that is given in place of the old one', () => {
  test('is stored, and asked with next time', async () => {
    endpoint.answer = issue('token-1', { refresh_token: 'rotated', expires_in: 0 });
    const holder = await hold(refreshing());
    await createLogin().open(holder, never);
    expect(refreshTokenOf(await holder.open())).toBe('rotated');
    await createLogin().open(holder, never);
    expect(endpoint.asks.map(({ form }) => form['refresh_token'])).toEqual([REFRESH_TOKEN, 'rotated']);
  });

  test('is stored though Redis fails at first', async () => {
    endpoint.answer = issue('token-1', { refresh_token: 'rotated' });
    const holder = await hold(refreshing());
    let fails = 3;
    await createLogin().open(
      {
        ...holder,
        replace: async (was, now) => {
          fails -= 1;
          if (fails >= 0) throw new Error('Redis is away');
          return holder.replace(was, now);
        },
      },
      never,
    );
    expect(refreshTokenOf(await holder.open())).toBe('rotated');
  });

  test('is stored though who asked for it has stopped waiting', async () => {
    const stop = new AbortController();
    endpoint.answer = (ask, response) => {
      stop.abort(new Error('stopped'));
      issue('token-1', { refresh_token: 'rotated' })(ask, response);
    };
    const holder = await hold(refreshing());
    await expect(createLogin().open(holder, stop.signal)).rejects.toThrow('stopped');
    await expect.poll(async () => refreshTokenOf(await holder.open())).toBe('rotated');
  });

  test('gives way to another grant that its owner has put there meanwhile', async () => {
    const holder = await hold(refreshing());
    const store = createCredentialStore(redis, sealer, 60_000);
    endpoint.answer = (ask, response) => {
      const answer = issue('token-1', { refresh_token: 'rotated' });
      void store.put(owner, refreshing({ refreshToken: 'of the owner' })).then(() => answer(ask, response));
    };
    await createLogin().open(holder, never);
    expect(refreshTokenOf(await holder.open())).toBe('of the owner');
  });
});

describe('an endpoint', () => {
  test.each([
    [400, 'invalid_grant', 'oauth2_consent_gone'],
    [400, 'interaction_required', 'oauth2_consent_gone'],
    [401, 'invalid_client', 'oauth2_refused'],
    [400, 'unauthorized_client', 'oauth2_refused'],
    [400, 'invalid_scope', 'oauth2_refused'],
    [400, 'temporarily_unavailable', 'oauth2_unavailable'],
    [403, 'rate_limit_exceeded', 'oauth2_unavailable'],
    [429, 'invalid_client', 'oauth2_unavailable'],
    [503, 'server_error', 'oauth2_unavailable'],
  ])('that answers %i %s means %s', async (status, error, code) => {
    const headers: Record<string, string> = status === 401 ? { 'www-authenticate': 'Basic realm="x"' } : {};
    const description = `You said ${REFRESH_TOKEN} and ${CLIENT_SECRET}\n`;
    endpoint.answer = say(status, { error, error_description: description }, headers);
    const failure = await failureOf(createLogin().open(await hold(refreshing()), never));
    expect(failure).toMatchObject({ code, message: expect.stringContaining(`answered ${status}`) as string });
  });

  test.each<[string, TokenEndpoint['answer']]>([
    ['answers with garbage', (_, response) => void response.end('<html>')],
    ['answers without a token', say(200, { token_type: 'bearer' })],
    ['answers with a token that no header could hold', issue('to\u0001ken')],
    ['answers with a token too long to be sent', issue('t'.repeat(accessTokenCharsMax + 1))],
    ['answers with another type of token', issue('token', { token_type: 'mac' })],
    ['answers without end', (_, response) => void response.end(Buffer.alloc(formAnswerBytesMax + 1, ' '))],
    ['does not answer', () => undefined],
    ['hangs up', (_, response) => void response.destroy()],
    ['begins an answer, and stops', (_, response) => void response.writeHead(200, { 'content-length': 99 }).write('{')],
  ])('that %s is asked again later, and left alone until then', async (_what, answer) => {
    endpoint.answer = answer;
    const holder = await hold(refreshing());
    expect(await failureOf(createLogin().open(holder, never))).toMatchObject({ code: 'oauth2_unavailable' });
    await failureOf(createLogin().open(holder, never));
    expect(endpoint.asks).toHaveLength(1);
  });

  test('in trouble is asked once by twenty who ask at once', async () => {
    endpoint.answer = (ask, response) => void setTimeout(() => say(503, {})(ask, response), 50);
    const holder = await hold(refreshing());
    await Promise.all(Array.from({ length: 20 }, () => failureOf(createLogin().open(holder, never))));
    expect(endpoint.asks).toHaveLength(1);
  });

  test('that redirects is not followed', async () => {
    endpoint.answer = (_ask, response) => void response.writeHead(307, { location: '/elsewhere' }).end();
    expect(await failureOf(createLogin().open(await hold(refreshing()), never))).toMatchObject({
      code: 'oauth2_unavailable',
      message: expect.stringContaining('answered 307') as string,
    });
    expect(endpoint.asks.map(({ path }) => path)).toEqual(['/token']);
  });

  test('is left alone for as long as it says, by all who ask', async () => {
    endpoint.answer = say(503, {}, { 'retry-after': '120' });
    const holder = await hold(refreshing());
    const first = await failureOf(createLogin().open(holder, never));
    expect(first).toMatchObject({ code: 'oauth2_unavailable', retryAfterMs: 120_000 });
    const second = await failureOf(createLogin().open(holder, never));
    expect(second.retryAfterMs).toBeGreaterThan(100_000);
    expect(endpoint.asks).toHaveLength(1);
  });

  test('that the egress policy does not allow is not connected to', async () => {
    for (const allow of ['', '127.0.0.0/8:443']) {
      const failure = await failureOf(createLogin(allow).open(await hold(refreshing()), never));
      expect(failure).toMatchObject({ code: 'egress_blocked' });
    }
    expect(endpoint.asks).toEqual([]);
  });

  test('is no longer waited for by who has been told to stop', async () => {
    const stop = new AbortController();
    const reason = new Error('stopped');
    endpoint.answer = () => stop.abort(reason);
    await expect(createLogin().open(await hold(refreshing()), stop.signal)).rejects.toBe(reason);
  });
});

test('presets know where tokens come from, and for which scope', () => {
  const made = (request: object) => toOAuth2Credentials({ clientId: 'a', ...request } as GrantRequest).grant;
  const refresh = { grant: 'refresh_token', refreshToken: 'r' };
  expect(made({ ...refresh, preset: 'google' })).toMatchObject({
    endpoint: 'https://oauth2.googleapis.com/token',
    scope: 'https://mail.google.com/',
  });
  expect(made({ ...refresh, preset: 'microsoft' })).toMatchObject({
    endpoint: 'https://login.microsoftonline.com/common/oauth2/v2.0/token',
    scope: 'https://outlook.office.com/POP.AccessAsUser.All offline_access',
  });
  const client = { grant: 'client_credentials', clientSecret: 's', preset: 'microsoft', authority: 'example.com' };
  expect(made(client)).toMatchObject({
    endpoint: 'https://login.microsoftonline.com/example.com/oauth2/v2.0/token',
    scope: 'https://outlook.office365.com/.default',
  });
});
