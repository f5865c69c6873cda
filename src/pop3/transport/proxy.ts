/**
 * A connection through a proxy: the way to the proxy, then a tunnel that it opens to the target.
 *
 * Who may be reached is settled in endpoint.ts (`proxy`). The dialects are in socks.ts and http-connect.ts.
 */
import type { Socket } from 'node:net';
import { resolveAddresses } from './addresses.ts';
import { describe, toAsciiHost, type Endpoint, type ResolvedAddress, type TransportOptions } from './endpoint.ts';
import { requestHttpTunnel } from './http-connect.ts';
import { parseProxyUrl, type ProxyServer } from './proxy-url.ts';
import { requestSocksTunnel } from './socks.ts';
import { connectToFirst, explainAttempts } from './tcp.ts';
import { secure } from './tls.ts';
import { proxyFailed, type Target } from './tunnel.ts';
import { connectionFailed, discard, seconds, timedOut, withDeadline, type Cutoff } from './waits.ts';

/** The connect deadline covers the whole way to the target. @throws as openTcp does. */
export async function openThroughProxy(
  endpoint: Endpoint,
  proxyUrl: string,
  options: TransportOptions,
): Promise<Socket> {
  const proxy = parseProxyUrl(proxyUrl);
  const hosts = await chooseHosts(endpoint, proxy, options);
  const addresses = await resolveAddresses(proxy, options.resolveProxy, options);
  const { timeouts, signal } = options;
  const route = `${describe(endpoint)} through the proxy ${proxy.label}`;
  const expired = (): Error => timedOut('connect', `No connection to ${route} within ${seconds(timeouts.connectMs)}.`);
  return withDeadline(
    { timeoutMs: timeouts.connectMs, signal, expired },
    async (cutoff) => {
      const reasons = new Set<string>();
      for (const host of hosts) {
        const socket = await openProxy(proxy, addresses, cutoff);
        const refusal = await requestTunnel(socket, proxy, { host, port: endpoint.port }, cutoff);
        if (refusal === null) return socket;
        reasons.add(refusal);
      }
      const why = [...reasons].join('; ');
      throw connectionFailed(`No connection to ${route}: ${why}.`, { fields: { proxy: proxy.label } });
    },
    discard,
  );
}

/** What the proxy is asked for, one after the other: the name, or the addresses that the hook allows. */
async function chooseHosts(
  endpoint: Endpoint,
  { scheme }: ProxyServer,
  options: TransportOptions,
): Promise<readonly string[]> {
  const sendsName = scheme === 'socks5h' || (scheme !== 'socks5' && options.resolve === undefined);
  if (sendsName) return [toAsciiHost(endpoint.host)];
  const addresses = await resolveAddresses(endpoint, options.resolve, options);
  return addresses.map(({ address }) => address);
}

async function openProxy(proxy: ProxyServer, addresses: readonly ResolvedAddress[], cutoff: Cutoff): Promise<Socket> {
  const failures: Error[] = [];
  const socket = await connectToFirst(addresses, proxy.port, { cutoff, failures });
  if (!socket)
    throw proxyFailed(proxy, `cannot be reached: ${explainAttempts(failures)}`, new AggregateError(failures));
  if (proxy.scheme !== 'https') return socket;
  try {
    return await secure(socket, { host: proxy.host, place: `the proxy ${proxy.label}`, options: {} }, cutoff);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Null once the socket leads to the target; otherwise why the proxy did not get there, and the socket is destroyed. */
async function requestTunnel(
  socket: Socket,
  proxy: ProxyServer,
  target: Target,
  cutoff: Cutoff,
): Promise<string | null> {
  const request = proxy.scheme.startsWith('socks') ? requestSocksTunnel : requestHttpTunnel;
  let refusal: string | null;
  try {
    refusal = await request(socket, proxy, target, cutoff);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  if (refusal !== null) socket.destroy();
  return refusal;
}
