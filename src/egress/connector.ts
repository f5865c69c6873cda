/** A connector for undici that goes only to the addresses that the egress policy has given. */
import { isIP, type LookupFunction } from 'node:net';
import { buildConnector } from 'undici';
import { AppError, toError } from '../errors.ts';
import type { PinnedAddress } from './policy.ts';

/** @throws AppError `egress_blocked`. Asked for IP literals too. */
export type ResolveTarget = (host: string, port: number) => Promise<readonly PinnedAddress[]>;

/** Resolves and checks at connect time, then connects to the checked addresses: a name cannot be rebound in between. */
export function createConnector(resolve: ResolveTarget, timeoutMs: number): buildConnector.connector {
  return (options, callback) => {
    const host = options.hostname.replace(/^\[|\]$/g, '');
    const port = Number(options.port || (options.protocol === 'https:' ? 443 : 80));
    resolve(host, port).then(
      (addresses) => {
        const [first] = addresses;
        if (!first) return callback(new AppError('upstream_unreachable', 'The host has no address.'), null);
        const pinned: LookupFunction = (_host, _options, done) => done(null, [...addresses]);
        const connect = buildConnector({
          timeout: timeoutMs,
          allowH2: false,
          // Where one address does not answer, the next one is tried.
          autoSelectFamily: true,
          lookup: pinned,
        });
        // For an address as the host Node asks no look-up at all.
        connect({ ...options, hostname: isIP(host) === 0 ? host : first.address }, callback);
      },
      (error: unknown) => callback(toError(error), null),
    );
  };
}
