/**
 * What is known of the large providers: where their POP3 servers are, what they want for a login, and what they allow. The figures
 * are in `provider-table.ts`. Pure: nothing is asked for here.
 */
import { canonicalHost } from '../identity.ts';
import { PROVIDERS } from './provider-table.ts';
import type { Provider } from './provider.ts';

/** @param domain in lower-case ASCII. */
export function providerOfDomain(domain: string): Provider | null {
  return (
    PROVIDERS.find(({ domains }) =>
      domains.some((known) => (known.startsWith('*.') ? domain.endsWith(known.slice(1)) : domain === known)),
    ) ?? null
  );
}

/** The provider that takes a domain's mail; the longest known ending decides. @param exchange as the MX record has it. */
export function providerOfExchange(exchange: string): Provider | null {
  const host = canonicalHost(exchange);
  const known = PROVIDERS.flatMap((provider) => provider.mx.map((ending) => ({ provider, ending })))
    .filter(({ ending }) => host === ending || host.endsWith(`.${ending}`))
    .toSorted((a, b) => b.ending.length - a.ending.length);
  return known[0]?.provider ?? null;
}

/** The first provider with that POP3 server, however its name is spelled. */
export function providerOfHost(host: string): Provider | null {
  const written = canonicalHost(host);
  return PROVIDERS.find(({ pop3 }) => pop3?.host === written) ?? null;
}

/** Milliseconds that the provider of the host wants between two logins to one mailbox; 0 where it is not known to want any. */
export function providerLoginGapMs(host: string): number {
  return (providerOfHost(host)?.minIntervalSeconds ?? 0) * 1000;
}
