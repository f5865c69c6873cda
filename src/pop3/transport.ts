/**
 * Sockets: name resolution through the caller's hook, TCP, TLS, proxies. Only the files of this part import node:net,
 * node:tls and node:dns. What it gives out is connected and verified; what fails here leaves no socket behind.
 *
 * It knows no POP3: when TLS begins, and what is said over the socket, is for the client.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { resolveAddresses } from './transport/addresses.ts';
import { describe, type Endpoint, type TransportOptions } from './transport/endpoint.ts';
import { openThroughProxy } from './transport/proxy.ts';
import { connectToFirst, explainAttempts } from './transport/tcp.ts';
import { connectionFailed, discard, seconds, timedOut, withDeadline } from './transport/waits.ts';

/** What TLS makes of a socket. */
export type SecuredSocket = TLSSocket;

export { describe } from './transport/endpoint.ts';
export type { AddressResolver, Endpoint, ResolvedAddress, TlsOptions, TransportOptions } from './transport/endpoint.ts';
export { parsePin } from './transport/certificate.ts';
export { parseProxyUrl, type ProxyServer } from './transport/proxy-url.ts';
export { startTls } from './transport/tls.ts';
export { readTlsAlert, type TlsFailure } from './transport/tls-errors.ts';
export { readTlsFacts, type TlsFacts } from './transport/tls-facts.ts';

/**
 * A connection to the endpoint, straight or through its proxy.
 * @throws Pop3ConnectionError, AppError `invalid_request` (a proxy URL that is none), the reason of the signal, or what a
 *   resolver hook threw.
 */
export async function openTcp(endpoint: Endpoint, options: TransportOptions): Promise<Socket> {
  const place = describe(endpoint);
  const { port, proxy } = endpoint;
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw connectionFailed(`${place} cannot be connected to: a port is a number from 1 to 65535.`);
  }
  if (proxy !== undefined) return openThroughProxy(endpoint, proxy, options);

  const addresses = await resolveAddresses(endpoint, options.resolve, options);
  const { timeouts, signal } = options;
  const failures: Error[] = [];
  const expired = (): Error => {
    const known = failures.length > 0 ? ` Some of its addresses failed before: ${explainAttempts(failures)}.` : '';
    return timedOut('connect', `No connection to ${place} within ${seconds(timeouts.connectMs)}.${known}`);
  };
  return withDeadline(
    { timeoutMs: timeouts.connectMs, signal, expired },
    async (cutoff) => {
      const socket = await connectToFirst(addresses, port, { cutoff, failures });
      if (socket) return socket;
      const why = explainAttempts(failures);
      const cause = failures.length === 1 ? failures[0] : new AggregateError(failures);
      throw connectionFailed(`No connection to ${place}: ${why}. Check the host and the port.`, { cause });
    },
    discard,
  );
}
