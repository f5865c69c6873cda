/**
 * Links that open one thing for reading, until they expire, to whoever has them: for consumers that are not to have the API key.
 *
 * The token is all that is known of a link; nothing is stored, so that any replica opens what another has made, and none
 * can be called back before its time but by taking its master key away.
 *
 * `v1.KEYID.TENANT.EXPIRY.MAC`: EXPIRY in seconds since 1970, MAC the HMAC-SHA256 in base64url of everything before it, of
 * what may be done (read) and of the path. Its key is derived from the master key (RFC 5869), so that neither the sealing
 * of secrets nor the signing of links tells anything of the other. Several keys open, the first one signs.
 */
import { createHmac, createSecretKey, hkdfSync, timingSafeEqual, type KeyObject } from 'node:crypto';
import { AppError } from '../errors.ts';
import type { Principal } from './access.ts';
import { tokenCharsMax } from './limits.ts';

export interface SignedLinks {
  /**
   * @param path below the host, without a query, as it will be asked for.
   * @param expiresAtMs since 1970; cut to seconds.
   */
  sign(link: { tenant: string; path: string; expiresAtMs: number }): string;
  /**
   * Who may read what is at the path.
   * @throws AppError `unauthorized` for a token of another path, or of nobody's making; `link_expired`.
   */
  open(token: string, path: string): Principal;
}

const VERSION = 'v1';
const TOKEN = /^(v1)\.([A-Za-z0-9_-]{1,64})\.([a-z0-9_]{1,64})\.([1-9][0-9]{0,14})\.([A-Za-z0-9_-]{43})$/;
const TENANT = /^[a-z0-9_]{1,64}$/;

/** @param masterKeys by their ids; the first signs. */
export function createSignedLinks(
  masterKeys: readonly (readonly [id: string, key: Buffer])[],
  clock: { now(): number },
): SignedLinks {
  const keys = new Map(masterKeys.map(([id, key]) => [id, deriveKey(key)]));
  const [signing] = keys;
  if (!signing) throw new AppError('invalid_config', 'There is no master key to sign links with.');
  const [signingId, signingKey] = signing;

  return {
    sign({ tenant, path, expiresAtMs }) {
      if (!TENANT.test(tenant)) throw new AppError('internal_error', 'A tenant holds a character that it must not.');
      const claims = [VERSION, signingId, tenant, String(Math.floor(expiresAtMs / 1000))];
      return [...claims, computeMac(signingKey, claims, path)].join('.');
    },
    open(token, path) {
      const [, version = '', keyId = '', tenant = '', expiry = '', mac = ''] =
        token.length <= tokenCharsMax ? (TOKEN.exec(token) ?? []) : [];
      const key = keys.get(keyId);
      const expected = key && computeMac(key, [version, keyId, tenant, expiry], path);
      // As text: of the same bytes, base64 knows several spellings.
      if (expected?.length !== mac.length || !timingSafeEqual(Buffer.from(mac), Buffer.from(expected))) {
        throw new AppError('unauthorized', 'The link is not valid here. Ask for a new one.');
      }
      // Told only to who has had the link: nobody else learns what was once signed.
      if (clock.now() >= Number(expiry) * 1000) {
        throw new AppError('link_expired', 'The link has expired. Ask for a new one.');
      }
      return { tenant };
    },
  };
}

function deriveKey(masterKey: Buffer): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', masterKey, '', 'popbridge signed links', 32)));
}

/** As a JSON list, so that no two lists of parts give the same text. */
function computeMac(key: KeyObject, claims: readonly string[], path: string): string {
  return createHmac('sha256', key)
    .update(JSON.stringify([...claims, 'read', path]))
    .digest('base64url');
}
