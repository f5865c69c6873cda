/**
 * Who is calling. A request's tenant follows from its API key and from nothing else.
 *
 * For now there is one key and one tenant; callers see a Principal only, so that more of both need no change elsewhere.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '../errors.ts';

export interface Principal {
  tenant: string;
}

/** All that there are. */
export const tenants: readonly string[] = ['default'];

export interface Access {
  /** @throws AppError `unauthorized`, the same for a missing and a wrong key. */
  authenticate(authorization: string | undefined): Principal;
}

export function createAccess(operatorKey: string): Access {
  const [tenant = ''] = tenants;
  const expected = digest(operatorKey);
  return {
    authenticate(authorization) {
      const key = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
      // Digests have one length whatever was sent, so that the comparison tells nothing by its time.
      if (key === undefined || !timingSafeEqual(digest(key), expected)) {
        throw new AppError(
          'unauthorized',
          key === undefined
            ? 'The request has no API key. Send it as "Authorization: Bearer KEY".'
            : 'The API key is not known here.',
        );
      }
      return { tenant };
    },
  };
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
