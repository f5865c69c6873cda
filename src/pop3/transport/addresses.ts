/** From a host to the addresses that may be connected to, in the order in which they are tried. */
import { addressesMax } from '../limits.ts';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { Pop3ConnectionError } from '../errors.ts';
import {
  toAsciiHost,
  type AddressResolver,
  type Endpoint,
  type ResolvedAddress,
  type TransportOptions,
} from './endpoint.ts';
import { seconds, timedOut, withDeadline } from './waits.ts';

/** Of both families by turns (RFC 8305 §4). @throws Pop3ConnectionError, or what the hook threw. */
export async function resolveAddresses(
  { host, port }: Pick<Endpoint, 'host' | 'port'>,
  hook: AddressResolver | undefined,
  { timeouts, signal }: TransportOptions,
): Promise<readonly ResolvedAddress[]> {
  const asciiHost = toAsciiHost(host);
  const family = isIP(asciiHost);
  if (!hook && family !== 0) return [{ address: asciiHost, family: family === 6 ? 6 : 4 }];
  const resolve = hook ?? resolveBySystem;
  const expired = (): Error =>
    timedOut('resolve', `The name ${host} was not resolved within ${seconds(timeouts.resolveMs)}.`);
  const found = await withDeadline({ timeoutMs: timeouts.resolveMs, signal, expired }, () => resolve(asciiHost, port));
  // A name in place of an address would be looked up by the socket, past the hook.
  const addresses = interleave(found.filter(({ address }) => isIP(address) !== 0));
  if (addresses.length === 0) throw unknownHost(host);
  return addresses.slice(0, addressesMax);
}

/** The first address stays the first: its family is the one that the resolver prefers. */
function interleave(addresses: readonly ResolvedAddress[]): ResolvedAddress[] {
  const preferred = addresses.filter(({ family }) => family === addresses[0]?.family);
  const others = addresses.filter(({ family }) => family !== addresses[0]?.family);
  const pairs = Math.max(preferred.length, others.length);
  return Array.from({ length: pairs }, (_, index) => [preferred[index], others[index]])
    .flat()
    .filter((address) => address !== undefined);
}

async function resolveBySystem(host: string): Promise<ResolvedAddress[]> {
  try {
    const found = await lookup(host, { all: true, order: 'verbatim' });
    return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }));
  } catch (error) {
    throw unknownHost(host, error);
  }
}

function unknownHost(host: string, cause?: unknown): Pop3ConnectionError {
  const message = `The host name ${host} cannot be resolved. Check its spelling.`;
  return new Pop3ConnectionError('upstream_unreachable', 'resolve', message, { cause });
}
