/** Connections of outbound HTTP: only to addresses that the egress policy gives at connect time. */
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { buildConnector } from 'undici';
import { AppError, toError } from '../errors.ts';

/** The addresses that may be connected to; throws AppError `egress_blocked`. Called for IP literals too. */
export type ResolveAddresses = (host: string, port: number) => Promise<readonly { address: string; family: 4 | 6 }[]>;

/** Milliseconds that a connection took to be made. */
export interface ConnectTimes {
  dnsMs: number;
  connectMs: number;
  /** Null without TLS. */
  tlsMs: number | null;
}

/**
 * Resolves and checks at connect time, then connects to the checked addresses: a name cannot be rebound in between.
 * @param observe told of each connection that was made.
 */
export function createCheckedConnector(
  resolve: ResolveAddresses,
  timeoutMs: number,
  observe?: (socket: Socket, times: ConnectTimes) => void,
): buildConnector.connector {
  return (options, callback) => {
    const fromMs = performance.now();
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
        const resolvedMs = performance.now();
        let connectedMs: number | null = null;
        // For an address as the host Node asks no look-up at all.
        const pinnedOptions = { ...options, hostname: isIP(host) === 0 ? host : first.address };
        const opening = connect(pinnedOptions, (...result) => {
          const [error, socket] = result;
          if (error === null) {
            const isTls = options.protocol === 'https:';
            const nowMs = performance.now();
            observe?.(socket, {
              dnsMs: resolvedMs - fromMs,
              connectMs: (isTls ? (connectedMs ?? nowMs) : nowMs) - resolvedMs,
              tlsMs: isTls ? nowMs - (connectedMs ?? nowMs) : null,
            });
          }
          callback(...result);
        }) as unknown as Socket;
        opening.once('connect', () => {
          connectedMs = performance.now();
        });
      },
      (error: unknown) => callback(toError(error), null),
    );
  };
}
