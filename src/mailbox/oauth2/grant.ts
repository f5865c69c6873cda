/** OAuth 2.0 grants (RFC 6749) as they are given and kept: what an access token comes from. Pure. */
import { createHash } from 'node:crypto';

/** How the client proves itself (RFC 6749 §2.3.1). */
export type ClientAuthentication = 'post' | 'basic';

interface Client {
  endpoint: string;
  clientId: string;
  clientAuthentication: ClientAuthentication;
  scope: string | null;
}

export interface RefreshTokenGrant extends Client {
  kind: 'refresh_token';
  clientSecret: string | null;
  refreshToken: string;
}

export interface ClientCredentialsGrant extends Client {
  kind: 'client_credentials';
  clientSecret: string;
}

/** Pushed in by its owner, who pushes the next one before this one expires. */
export interface PushedToken {
  kind: 'access_token';
  accessToken: string;
  /** ISO 8601. */
  expiresAt: string | null;
}

export type TokenGrant = RefreshTokenGrant | ClientCredentialsGrant;
export type Grant = TokenGrant | PushedToken;

/** As the contract has it; exactly one of `preset` and `tokenEndpoint` is there. */
export type GrantRequest =
  | ({ grant: 'refresh_token'; clientSecret?: string; refreshToken: string } & ClientRequest)
  | ({ grant: 'client_credentials'; clientSecret: string } & ClientRequest)
  | { grant: 'access_token'; accessToken: string; expiresAt?: string };

interface ClientRequest {
  preset?: 'google' | 'microsoft';
  authority?: string;
  tokenEndpoint?: string;
  clientId: string;
  clientAuthentication?: ClientAuthentication;
  scope?: string;
}

export interface OAuth2Credentials {
  type: 'oauth2';
  /** Of the grant as it was given: a rotated refresh token leaves it, another grant has another. */
  id: string;
  grant: Grant;
}

/** What may be shown of a grant. */
export interface GrantFacts {
  grant: Grant['kind'];
  endpoint: string | null;
  clientId: string | null;
  expiresAt: string | null;
}

const GOOGLE = { endpoint: 'https://oauth2.googleapis.com/token', scope: 'https://mail.google.com/' };
const MICROSOFT_SCOPES = {
  refresh_token: 'https://outlook.office.com/POP.AccessAsUser.All offline_access',
  client_credentials: 'https://outlook.office365.com/.default',
} as const;

export function toOAuth2Credentials(request: GrantRequest): OAuth2Credentials {
  const grant = toGrant(request);
  return { type: 'oauth2', id: createHash('sha256').update(JSON.stringify(grant)).digest('base64url'), grant };
}

function toGrant(request: GrantRequest): Grant {
  if (request.grant === 'access_token') {
    return { kind: 'access_token', accessToken: request.accessToken, expiresAt: request.expiresAt ?? null };
  }
  const { grant: kind, clientId, clientAuthentication = 'post' } = request;
  const known = presetOf(request);
  const client = {
    endpoint: request.tokenEndpoint ?? known.endpoint,
    clientId,
    clientAuthentication,
    scope: request.scope ?? known.scope,
  };
  if (kind === 'client_credentials') return { kind, ...client, clientSecret: request.clientSecret };
  return { kind, ...client, clientSecret: request.clientSecret ?? null, refreshToken: request.refreshToken };
}

function presetOf({ grant, preset, authority = 'common' }: Exclude<GrantRequest, { grant: 'access_token' }>) {
  if (preset === 'google') return GOOGLE;
  const endpoint = `https://login.microsoftonline.com/${authority}/oauth2/v2.0/token`;
  if (preset === 'microsoft') return { endpoint, scope: MICROSOFT_SCOPES[grant] };
  return { endpoint: '', scope: grant === 'client_credentials' ? MICROSOFT_SCOPES[grant] : null };
}

export function describeGrant(grant: Grant): GrantFacts {
  const { endpoint = null, clientId = null, expiresAt = null } = grant as Partial<Client & PushedToken>;
  return { grant: grant.kind, endpoint, clientId, expiresAt };
}
