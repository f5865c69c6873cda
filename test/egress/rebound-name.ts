import { Resolver } from 'node:dns/promises';
import { onTestFinished } from 'vitest';
import { parseEgressAllow } from '../../src/egress/allow-rule.ts';
import { createEgressPolicy } from '../../src/egress/policy.ts';
import { startDnsServer } from '../support/dns-server.ts';

/**
 * A policy that asks a real name server of the test's own, where `rebind.example` is.
 * @param answers to one question after the other; the last one stands.
 */
export async function judgeRebound(allow: string, answers: string[]) {
  const dns = await startDnsServer({
    'A rebind.example': () => [answers.length > 1 ? (answers.shift() ?? '') : (answers[0] ?? '')],
  });
  onTestFinished(() => dns.close());
  const resolver = new Resolver();
  resolver.setServers([dns.address]);
  const policy = createEgressPolicy({
    allow: parseEgressAllow(allow),
    resolve: async (host) => (await resolver.resolve4(host)).map((address) => ({ address })),
  });
  return { dns, policy };
}
