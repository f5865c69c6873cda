import { expect } from 'vitest';
import { parseEgressAllow } from '../../src/egress/allow-rule.ts';
import { createEgressPolicy } from '../../src/egress/policy.ts';
import type { EgressPolicy } from '../../src/egress/policy.ts';

/** A policy whose resolver knows only these names. */
export function policyWith(allow: string, names: Readonly<Record<string, readonly string[]>> = {}): EgressPolicy {
  return createEgressPolicy({
    allow: parseEgressAllow(allow),
    resolve: async (host) => {
      const addresses = names[host];
      if (addresses === undefined)
        throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' });
      return addresses.map((address) => ({ address }));
    },
  });
}

export const blocked = expect.objectContaining({ name: 'AppError', code: 'egress_blocked' }) as Error;
export const unreachable = expect.objectContaining({ name: 'AppError', code: 'upstream_unreachable' }) as Error;
