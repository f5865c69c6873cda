/**
 * What is logged in with, from the credentials that are kept: a password as it is, or an access token, which is got ahead of the old
 * one's end, once for each mailbox however many ask, and kept until it expires. A refresh token that is given in place of the old one is
 * stored before anything else is done.
 */
import { untilAborted } from '../../until-aborted.ts';
import type { Credentials } from '../credentials.ts';
import type { OAuth2Credentials, PushedToken, TokenGrant } from './grant.ts';
import {
  endpointPauseMs,
  refreshAheadMs,
  refreshShare,
  rotationPauseMs,
  rotationTriesMax,
  turnRecheckMs,
  turnWaitMs,
} from './limits.ts';
import { OAuth2Error } from './oauth2-error.ts';
import { requestToken, type IssuedToken, type TokenRequestPorts } from './token-request.ts';
import type { CachedToken, TokenOwner, TokenStore } from './token-store.ts';

/** Whose credentials they are, and where they are kept. */
export interface CredentialHolder extends TokenOwner {
  /** As they are now. @throws AppError `credentials_unavailable`. */
  open(): Promise<Credentials>;
  /** False where they are not `was` any more: their owner's change stands. */
  replace(was: Credentials, now: Credentials): Promise<boolean>;
}

export interface Login {
  secret: { password: string } | { accessToken: string };
  /** Another one for where this one was refused; null where there is none that could be better. */
  renew(): Promise<Login | null>;
}

export interface Logins {
  /** @throws AppError `credentials_unavailable`, `egress_blocked`; OAuth2Error; the signal's reason. */
  open(holder: CredentialHolder, signal: AbortSignal): Promise<Login>;
  /** Of credentials that nothing keeps; `isSpent` where a rotated refresh token was given, and goes lost. */
  tryOut(credentials: Credentials, signal: AbortSignal): Promise<{ secret: Login['secret']; isSpent: boolean }>;
}

export interface LoginPorts extends Omit<TokenRequestPorts, 'clock'> {
  clock: { now(): number; sleep(ms: number): Promise<void> };
  tokens: TokenStore;
  uniqueId(): string;
}

interface GrantedCredentials extends OAuth2Credentials {
  grant: TokenGrant;
}

export function createLogins(ports: LoginPorts): Logins {
  const { clock, tokens } = ports;

  const isFresh = ({ expiresAtMs, lifeMs }: CachedToken): boolean =>
    expiresAtMs - clock.now() > Math.min(refreshAheadMs, lifeMs * refreshShare);
  const isAlive = ({ expiresAtMs }: CachedToken): boolean => expiresAtMs > clock.now();

  async function open(holder: CredentialHolder, signal: AbortSignal): Promise<Login> {
    const credentials = await holder.open();
    if (credentials.type === 'password') return fixed({ password: credentials.password });
    const { grant } = credentials;
    if (grant.kind === 'access_token') return fixed({ accessToken: readPushed(grant, clock.now()) });
    const { token, isNew } = await getToken(holder, { ...credentials, grant }, signal);
    if (isNew) return fixed({ accessToken: token.accessToken });
    return {
      secret: { accessToken: token.accessToken },
      async renew() {
        // Another worker may have got a new one meanwhile, which is not to be dropped.
        const known = await tokens.find(holder, token.grantId);
        if (known?.accessToken === token.accessToken) await tokens.drop(holder);
        const renewed = await open(holder, signal);
        return { ...renewed, renew: async () => null };
      },
    };
  }

  /** Others wait while one asks, and then find what it got. */
  async function getToken(
    holder: CredentialHolder,
    first: GrantedCredentials,
    signal: AbortSignal,
  ): Promise<{ token: CachedToken; isNew: boolean }> {
    const by = ports.uniqueId();
    const untilMs = clock.now() + turnWaitMs;
    for (;;) {
      signal.throwIfAborted();
      const known = await tokens.find(holder, first.id);
      if (known && isFresh(known)) return { token: known, isNew: false };
      const pause = await tokens.findPause(holder, first.id);
      if (pause) return fallBack(known, leftAlone(pause, clock.now()));
      if (await tokens.takeTurn(holder, by)) {
        // Whoever stops waiting does not stop the asking: the answer may hold the only refresh token that is good from now on.
        return untilAborted(useTurn(holder, first.id, by), signal).catch((error: unknown) => fallBack(known, error));
      }
      if (known && isAlive(known)) return { token: known, isNew: false };
      if (clock.now() > untilMs) return fallBack(known, stillWaiting());
      await clock.sleep(turnRecheckMs);
    }
  }

  async function useTurn(
    holder: CredentialHolder,
    grantId: string,
    by: string,
  ): Promise<{ token: CachedToken; isNew: boolean }> {
    try {
      // Whose turn was before may have been done since the last look, and has left another refresh token.
      const known = await tokens.find(holder, grantId);
      if (known && isFresh(known)) return { token: known, isNew: false };
      const credentials = await holder.open();
      if (!isGranted(credentials) || credentials.id !== grantId) throw changedMeanwhile();
      return { token: await getNew(holder, credentials), isNew: true };
    } finally {
      await tokens.endTurn(holder, by);
    }
  }

  /** The old token is good for a while yet when it is to be renewed; an endpoint in trouble is no reason not to fetch. */
  function fallBack(known: CachedToken | null, error: unknown): { token: CachedToken; isNew: boolean } {
    const isPassing = error instanceof OAuth2Error && error.code === 'oauth2_unavailable';
    if (isPassing && known && isAlive(known)) return { token: known, isNew: false };
    throw error;
  }

  async function getNew(holder: CredentialHolder, credentials: GrantedCredentials): Promise<CachedToken> {
    const { id: grantId } = credentials;
    let issued: IssuedToken;
    try {
      issued = await requestToken(ports, credentials.grant, new AbortController().signal);
    } catch (error) {
      if (error instanceof OAuth2Error && error.code === 'oauth2_unavailable') {
        const pauseMs = error.retryAfterMs ?? endpointPauseMs;
        const detail = error.message;
        await tokens.pause(holder, { grantId, detail, untilMs: clock.now() + pauseMs }, pauseMs);
      }
      throw error;
    }
    await keepRotated(holder, credentials, issued);
    const { accessToken, expiresAtMs, lifeMs } = issued;
    const token = { accessToken, grantId, expiresAtMs, lifeMs };
    if (lifeMs > 0) await tokens.put(holder, token, lifeMs);
    return token;
  }

  /** Tried again and again: some endpoints take the old one no more, and this is the only copy of the new one. */
  async function keepRotated(
    holder: CredentialHolder,
    was: GrantedCredentials,
    { refreshToken }: IssuedToken,
  ): Promise<void> {
    const { grant } = was;
    if (grant.kind !== 'refresh_token' || refreshToken === null || refreshToken === grant.refreshToken) return;
    for (let tries = 1; ; tries += 1) {
      try {
        // False: its owner has given another grant meanwhile, and that one stands.
        await holder.replace(was, { ...was, grant: { ...grant, refreshToken } });
        return;
      } catch (error) {
        if (tries >= rotationTriesMax) throw error;
        await clock.sleep(rotationPauseMs * 2 ** (tries - 1));
      }
    }
  }

  return {
    open,
    async tryOut(credentials, signal) {
      if (credentials.type === 'password') return { secret: { password: credentials.password }, isSpent: false };
      const { grant } = credentials;
      if (grant.kind === 'access_token') {
        return { secret: { accessToken: readPushed(grant, clock.now()) }, isSpent: false };
      }
      const { accessToken, refreshToken } = await requestToken(ports, grant, signal);
      const sent = grant.kind === 'refresh_token' ? grant.refreshToken : null;
      return { secret: { accessToken }, isSpent: refreshToken !== null && sent !== null && refreshToken !== sent };
    },
  };
}

function fixed(secret: Login['secret']): Login {
  return { secret, renew: async () => null };
}

function isGranted(credentials: Credentials): credentials is GrantedCredentials {
  return credentials.type === 'oauth2' && credentials.grant.kind !== 'access_token';
}

function readPushed({ accessToken, expiresAt }: PushedToken, nowMs: number): string {
  if (expiresAt !== null && Date.parse(expiresAt) <= nowMs) {
    const text = `The access token that was pushed expired at ${expiresAt}. Push a new one: PATCH the mailbox with a new \`source.oauth2\`.`;
    throw new OAuth2Error('oauth2_token_expired', text);
  }
  return accessToken;
}

function leftAlone({ detail, untilMs }: { detail: string; untilMs: number }, nowMs: number): OAuth2Error {
  return new OAuth2Error('oauth2_unavailable', detail, Math.max(0, untilMs - nowMs));
}

function stillWaiting(): OAuth2Error {
  return new OAuth2Error(
    'oauth2_unavailable',
    'Another worker is still asking for an access token. Tried again later.',
  );
}

function changedMeanwhile(): OAuth2Error {
  return new OAuth2Error('oauth2_unavailable', 'The credentials were changed at this very moment. Tried again.');
}
