/**
 * One request to a token endpoint (RFC 6749 §4.4 and §6), and what its answer means. The endpoint is not trusted: what it says is
 * quoted escaped, cut and without the secrets that it was told.
 */
import * as oauth from 'oauth4webapi';
import { AppError } from '../../errors.ts';
import type { TokenGrant } from './grant.ts';
import {
  accessTokenCharsMax,
  endpointPauseMsMax,
  quotedCharsMax,
  refreshTokenCharsMax,
  tokenLifeMs,
  tokenLifeMsMax,
} from './limits.ts';
import { OAuth2Error, type OAuth2FailureCode } from './oauth2-error.ts';

export interface TokenRequestPorts {
  clock: { now(): number };
  /** @throws AppError `egress_blocked`. */
  checkEndpoint(url: string): URL;
  /** Follows no redirect, and bounds time and answer. @throws AppError; the signal's reason. */
  post(
    url: URL,
    headers: Record<string, string>,
    body: string,
    signal: AbortSignal,
  ): Promise<{ status: number; contentType: string; retryAfter: string | null; body: Buffer }>;
}

export interface IssuedToken {
  accessToken: string;
  /** Epoch milliseconds. */
  expiresAtMs: number;
  lifeMs: number;
  /** Null where the one that was sent stays. */
  refreshToken: string | null;
}

/** Error codes (RFC 6749 §5.2, OpenID Connect, and what large providers add) that say that the user has to consent anew. */
const CONSENT_GONE = new Set(['invalid_grant', 'interaction_required', 'consent_required', 'login_required']);
/** Those that say that what is asked for is wrong. One that nobody knows may be of a passing trouble, and is no reason to give up. */
const REFUSED = new Set([
  'invalid_request',
  'invalid_client',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
  'invalid_target',
  'access_denied',
  'invalid_resource',
  'deleted_client',
  'disabled_client',
  'org_internal',
  'admin_policy_enforced',
]);

/** @throws OAuth2Error; AppError `egress_blocked`; the signal's reason. */
export async function requestToken(
  ports: TokenRequestPorts,
  grant: TokenGrant,
  signal: AbortSignal,
): Promise<IssuedToken> {
  const url = ports.checkEndpoint(grant.endpoint);
  let retryAfterMs: number | null = null;
  let status: number | null = null;
  const send = async (
    _url: string,
    { headers, body }: oauth.CustomFetchOptions<'POST', URLSearchParams>,
  ): Promise<Response> => {
    const answer = await ports.post(url, headers, body.toString(), signal);
    status = answer.status;
    retryAfterMs = readRetryAfter(answer.retryAfter, ports.clock.now());
    // Without its other headers: a challenge would be taken for all that the answer says.
    const isEmpty = answer.status === 204 || answer.status === 205 || answer.status === 304;
    return new Response(isEmpty ? null : new Uint8Array(answer.body), {
      status: answer.status,
      headers: { 'content-type': answer.contentType },
    });
  };
  try {
    const issued = await ask(grant, url, send, signal);
    return readToken(issued, ports.clock.now());
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof AppError && error.code === 'egress_blocked') throw error;
    throw explain(grant, url, error, { status, retryAfterMs });
  }
}

type Send = (url: string, options: oauth.CustomFetchOptions<'POST', URLSearchParams>) => Promise<Response>;

async function ask(grant: TokenGrant, url: URL, send: Send, signal: AbortSignal): Promise<oauth.TokenEndpointResponse> {
  const server: oauth.AuthorizationServer = { issuer: url.origin, token_endpoint: url.href };
  const client: oauth.Client = { client_id: grant.clientId };
  const options = {
    [oauth.customFetch]: send,
    // Plain HTTP is the egress policy's question, which has been asked.
    [oauth.allowInsecureRequests]: url.protocol === 'http:',
    signal,
  };
  const scope: Record<string, string> = grant.scope === null ? {} : { scope: grant.scope };
  const proof = proofOf(grant);
  if (grant.kind === 'client_credentials') {
    const response = await oauth.clientCredentialsGrantRequest(server, client, proof, scope, options);
    return oauth.processClientCredentialsResponse(server, client, await withoutIdToken(response));
  }
  const response = await oauth.refreshTokenGrantRequest(server, client, proof, grant.refreshToken, {
    ...options,
    additionalParameters: scope,
  });
  return oauth.processRefreshTokenResponse(server, client, await withoutIdToken(response));
}

/** Nobody reads the id token, and one that does not hold against the made-up issuer is no reason to refuse the access token. */
async function withoutIdToken(response: Response): Promise<Response> {
  if (response.status !== 200) return response;
  const told: unknown = await response
    .clone()
    .json()
    .catch(() => null);
  if (typeof told !== 'object' || told === null || !('id_token' in told)) return response;
  const { id_token: _unread, ...rest } = told;
  return Response.json(rest);
}

function proofOf({ clientSecret, clientAuthentication }: TokenGrant): oauth.ClientAuth {
  if (clientSecret === null) return oauth.None();
  return clientAuthentication === 'basic'
    ? oauth.ClientSecretBasic(clientSecret)
    : oauth.ClientSecretPost(clientSecret);
}

function readToken(issued: oauth.TokenEndpointResponse, nowMs: number): IssuedToken {
  const {
    access_token: accessToken,
    token_type: type,
    expires_in: seconds,
    refresh_token: refreshToken = null,
  } = issued;
  const isUsable = type === 'bearer' && accessToken.length <= accessTokenCharsMax && /^[\x21-\x7e]+$/.test(accessToken);
  if (!isUsable || (refreshToken !== null && refreshToken.length > refreshTokenCharsMax))
    throw new Error('No usable token');
  const lifeMs = seconds === undefined ? tokenLifeMs : Math.min(seconds * 1000, tokenLifeMsMax);
  return { accessToken, expiresAtMs: nowMs + lifeMs, lifeMs, refreshToken: refreshToken === '' ? null : refreshToken };
}

function explain(
  grant: TokenGrant,
  { host }: URL,
  error: unknown,
  { status, retryAfterMs }: { status: number | null; retryAfterMs: number | null },
): OAuth2Error {
  const place = `The token endpoint ${host}`;
  if (error instanceof oauth.ResponseBodyError) {
    const code = codeOf(error);
    const said = quote([error.error, error.error_description].filter(Boolean).join(': '), secretsOf(grant));
    return new OAuth2Error(code, `${place} answered ${error.status} ${said}. ${ADVICE[code]}`, retryAfterMs);
  }
  const why =
    error instanceof AppError
      ? `gave no answer that can be used. ${error.message}`
      : `answered ${status ?? 'nothing'}, which is no answer by OAuth 2.0.`;
  return new OAuth2Error('oauth2_unavailable', `${place} ${why} ${ADVICE.oauth2_unavailable}`, retryAfterMs);
}

function codeOf({ error, status }: oauth.ResponseBodyError): OAuth2FailureCode {
  if (status === 429 || status === 408) return 'oauth2_unavailable';
  if (CONSENT_GONE.has(error)) return 'oauth2_consent_gone';
  return REFUSED.has(error) ? 'oauth2_refused' : 'oauth2_unavailable';
}

const ADVICE: Readonly<Record<OAuth2FailureCode, string>> = {
  oauth2_consent_gone: 'The refresh token is expired or revoked, or the user has to consent anew: get a new one.',
  oauth2_refused: 'Check client id, client secret and scope, and what the application may do.',
  oauth2_token_expired: '',
  oauth2_unavailable: 'It is asked again later; where this lasts, check the address of the endpoint.',
};

function secretsOf(grant: TokenGrant): string[] {
  const refresh = grant.kind === 'refresh_token' ? [grant.refreshToken] : [];
  const secrets = [...refresh, ...(grant.clientSecret === null ? [] : [grant.clientSecret])];
  return secrets
    .flatMap((secret) => [
      secret,
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64').replace(/=+$/, ''),
    ])
    .toSorted((a, b) => b.length - a.length);
}

function quote(text: string, secrets: readonly string[]): string {
  const clean = secrets.reduce((left, secret) => left.replaceAll(secret, '[redacted]'), text);
  return JSON.stringify(clean.slice(0, quotedCharsMax).toWellFormed()).replace(/[^\x20-\x7e]/g, '?');
}

/** RFC 9110 §10.2.3. */
function readRetryAfter(text: string | null, nowMs: number): number | null {
  if (text === null) return null;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, endpointPauseMsMax) : null;
}
