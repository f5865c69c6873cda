/**
 * The egress policy: the one module that decides which host, port and address may be connected to, for POP3 hosts and
 * webhook URLs alike. `check*` is the cheap answer when a setting comes in and asks no DNS; `resolve*` is the binding
 * answer when a connection is made, and hands out the only addresses that it may go to.
 *
 * It opens no connection: the caller pins its socket to what it is given, and follows no redirect without asking again.
 */
import { AppError } from '../errors.ts';
import { isMetadataService, isPublic, readAddress } from './address.ts';
import type { Ip } from './address.ts';
import { coversAddress, coversName, coversPort } from './allow-rule.ts';
import type { AllowRule } from './allow-rule.ts';
import { parseHost, quoteInput } from './host.ts';
import type { Host } from './host.ts';
import { findAddresses, systemResolve } from './lookup.ts';
import type { Resolve } from './lookup.ts';
import { createResolver, lookupsAtOnce } from './resolver.ts';
import { parseCalledUrl } from './webhook-url.ts';

export interface PinnedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

export interface EgressPolicy {
  /** @throws AppError `egress_blocked` */
  checkPop3(target: { readonly host: string; readonly port: number }): void;
  /**
   * @returns the URL as it is going to be called.
   * @throws AppError `egress_blocked`
   */
  checkWebhookUrl(url: string): URL;
  /** As checkWebhookUrl. */
  checkTokenEndpoint(url: string): URL;
  /**
   * @returns at least one address, in the resolver's order.
   * @throws AppError `egress_blocked`, or `upstream_unreachable` for a name without address; the signal's reason.
   */
  resolvePop3(host: string, port: number, signal?: AbortSignal): Promise<readonly PinnedAddress[]>;
  /** As resolvePop3; for token endpoints as well. */
  resolveWebhook(host: string, port: number, signal?: AbortSignal): Promise<readonly PinnedAddress[]>;
}

export interface EgressPolicyOptions {
  readonly allow: readonly AllowRule[];
  /** The system's resolver (hosts file, search domains and all) unless given. */
  readonly resolve?: Resolve;
  /** That the system makes; what Node has threads for unless given. */
  readonly lookupsAtOnce?: number;
}

const POP3_PORTS: ReadonlySet<number> = new Set([110, 995]);
const HTTPS_PORTS: ReadonlySet<number> = new Set([443, 8443]);
const NO_PORTS: ReadonlySet<number> = new Set();

/** Names under which clouds serve what isMetadataService knows by address; they may answer with any address. */
const METADATA_NAMES: ReadonlySet<string> = new Set([
  'metadata',
  'metadata.goog',
  'metadata.google.internal',
  'metadata.tencentyun.com',
  'instance-data',
  'instance-data.ec2.internal',
]);

export function createEgressPolicy(options: EgressPolicyOptions): EgressPolicy {
  const { allow } = options;
  const resolve = createResolver(options.resolve ?? systemResolve, {
    atOnce: options.lookupsAtOnce ?? lookupsAtOnce({}),
  });

  function mayConnect(host: Host, address: Ip, port: number, defaultPorts: ReadonlySet<number>): boolean {
    if (isMetadataService(address)) return false;
    if (defaultPorts.has(port) && isPublic(address)) return true;
    return allow.some(
      (rule) => coversPort(rule, port, defaultPorts) && (coversName(rule, host) || coversAddress(rule, address)),
    );
  }

  /** Whether any address could make the connection allowed: all that is known of a name before it is resolved. */
  function mightConnect(host: Host, port: number, defaultPorts: ReadonlySet<number>): boolean {
    if (isMetadataName(host)) return false;
    const known = knownAddresses(host);
    if (known !== null) return known.some((address) => mayConnect(host, address, port, defaultPorts));
    if (defaultPorts.has(port)) return true;
    return allow.some(
      (rule) => coversPort(rule, port, defaultPorts) && (rule.target.kind === 'cidr' || coversName(rule, host)),
    );
  }

  async function resolveTarget(
    written: string,
    port: number,
    defaultPorts: ReadonlySet<number>,
    signal: AbortSignal | undefined,
  ): Promise<readonly PinnedAddress[]> {
    const host = parseHost(written);
    if (host === null || !mightConnect(host, port, defaultPorts)) throw blocked(written, port);
    const addresses = knownAddresses(host) ?? (await findAddresses(resolve, host.text, signal));
    const allowed = addresses.filter((address) => mayConnect(host, address, port, defaultPorts));
    // One text whatever was found: the caller must not be able to map the network behind the policy.
    if (allowed.length === 0) throw blocked(host.text, port);
    return allowed.map((address) => ({ address: address.toString(), family: address.kind() === 'ipv4' ? 4 : 6 }));
  }

  function checkUrl(written: string, what: string): URL {
    const url = parseCalledUrl(written, what);
    const isHttps = url.protocol === 'https:';
    const port = url.port === '' ? (isHttps ? 443 : 80) : Number(url.port);
    const host = parseHost(url.hostname);
    if (host === null) throw blocked(url.hostname, port);
    // Connect time knows only the port. Plain HTTP on a port for HTTPS would pass there for any public address, so it is
    // refused here unless a rule is about this very host.
    const isDisguised = !isHttps && HTTPS_PORTS.has(port) && knownAddresses(host) === null;
    const isNamed = allow.some((rule) => coversName(rule, host) && coversPort(rule, port, NO_PORTS));
    if ((isDisguised && !isNamed) || !mightConnect(host, port, isHttps ? HTTPS_PORTS : NO_PORTS)) {
      throw blocked(host.text, port);
    }
    return url;
  }

  return {
    checkPop3({ host: written, port }) {
      const host = parseHost(written);
      if (host === null || !mightConnect(host, port, POP3_PORTS)) throw blocked(written, port);
    },
    checkWebhookUrl: (written) => checkUrl(written, 'webhook URL'),
    checkTokenEndpoint: (written) => checkUrl(written, 'token endpoint'),
    resolvePop3: (host, port, signal) => resolveTarget(host, port, POP3_PORTS, signal),
    resolveWebhook: (host, port, signal) => resolveTarget(host, port, HTTPS_PORTS, signal),
  };
}

function isMetadataName(host: Host): boolean {
  return host.kind === 'name' && METADATA_NAMES.has(host.text);
}

/** The addresses of a host that needs no DNS: a literal, or localhost, which is never asked for (RFC 6761 §6.3). */
function knownAddresses(host: Host): readonly Ip[] | null {
  if (host.kind === 'address') return [host.address];
  if (host.text !== 'localhost' && !host.text.endsWith('.localhost')) return null;
  return ['127.0.0.1', '::1'].map(readAddress).filter((address) => address !== null);
}

function blocked(host: string, port: number): AppError {
  return new AppError(
    'egress_blocked',
    `The egress policy does not allow connecting to ${quoteInput(host)} on port ${port}. Without an entry in POPBRIDGE_EGRESS_ALLOW ` +
      'only public addresses are allowed, on ports 110 and 995 for POP3 and by https on ports 443 and 8443 for webhooks and token endpoints.',
  );
}
