/** Host name to addresses, within a time limit, with failures that tell an unknown name from a resolver in trouble. */
import { lookup } from 'node:dns/promises';
import { AppError } from '../errors.ts';
import { untilAborted } from '../until-aborted.ts';
import { readAddress } from './address.ts';
import type { Ip } from './address.ts';
import { addressesMax, lookupTimeoutMs } from './limits.ts';

export type Found = readonly { readonly address: string }[];

/** Rejects with Node's DNS codes: ENOTFOUND for a name that is not there, EAI_AGAIN for a resolver that did not answer. */
export type Resolve = (host: string) => Promise<Found>;

/** The system's resolver: hosts file, search domains and all. */
export const systemResolve: Resolve = (host) => lookup(host, { all: true, order: 'verbatim' });

/** @throws AppError `upstream_unreachable`; the signal's reason. */
export async function findAddresses(
  resolve: Resolve,
  name: string,
  signal: AbortSignal | undefined,
): Promise<readonly Ip[]> {
  signal?.throwIfAborted();
  const timeout = AbortSignal.timeout(lookupTimeoutMs);
  const found = await untilAborted(
    resolve(name),
    signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
  ).catch((thrown: unknown) => {
    signal?.throwIfAborted();
    throw lookupFailure(name, thrown);
  });
  if (found.length === 0) throw unknownHost(name);
  return found
    .slice(0, addressesMax)
    .map(({ address }) => readAddress(address))
    .filter((address) => address !== null);
}

/** The resolver has answered, and the name is not there. */
export function isUnknown(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && (thrown.code === 'ENOTFOUND' || thrown.code === 'ENODATA');
}

function lookupFailure(name: string, cause: unknown): AppError {
  if (isUnknown(cause)) return unknownHost(name, cause);
  return new AppError(
    'upstream_unreachable',
    `The host name ${name} could not be resolved just now (temporary DNS failure). Try again later.`,
    { cause },
  );
}

function unknownHost(name: string, cause?: unknown): AppError {
  return new AppError(
    'upstream_unreachable',
    `The host name ${name} does not exist, or has no address. Check its spelling.`,
    { cause },
  );
}
