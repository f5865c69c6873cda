/** POPBRIDGE_EGRESS_ALLOW: what an operator allows beside public addresses on default ports. */
import ipaddr from 'ipaddr.js';
import { AppError } from '../errors.ts';
import type { Ip } from './address.ts';
import { parseHost, quoteInput } from './host.ts';
import type { Host } from './host.ts';
import { allowRulesMax } from './limits.ts';

export interface AllowRule {
  /** A host name, a wildcard over the names below one, or addresses. */
  readonly target:
    | { readonly kind: 'name'; readonly name: string }
    | { readonly kind: 'below'; readonly name: string }
    | { readonly kind: 'cidr'; readonly network: Ip; readonly prefixBits: number };
  /** Inclusive; null stands for the default ports of the purpose. */
  readonly ports: { readonly from: number; readonly to: number } | null;
}

const GRAMMAR =
  'HOST, *.HOST, ADDRESS or CIDR, then optionally :PORT, :FROM-TO or :*, IPv6 in brackets: 127.0.0.0/8:*,mail.internal:110,[fd00::]/8:995';
const ENTRY =
  /^(?<host>\[[^\]]*\]|[^:[\]/]+)(?:\/(?<bits>\d{1,3}))?(?::(?:(?<any>\*)|(?<from>\d{1,5})(?:-(?<to>\d{1,5}))?))?$/;

/** @throws AppError `invalid_config`, naming the first bad entry and the grammar. */
export function parseEgressAllow(text: string): readonly AllowRule[] {
  const entries = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  if (entries.length > allowRulesMax) {
    throw new AppError('invalid_config', `POPBRIDGE_EGRESS_ALLOW has more than ${allowRulesMax} entries.`);
  }
  return entries.map(parseRule);
}

function parseRule(entry: string): AllowRule {
  const groups = ENTRY.exec(entry)?.groups;
  if (groups === undefined) throw badEntry(entry, 'it is none of the forms');
  return { target: parseTarget(entry, groups['host'] ?? '', groups['bits']), ports: parsePorts(entry, groups) };
}

function parseTarget(entry: string, written: string, bits: string | undefined): AllowRule['target'] {
  const below = written.startsWith('*.');
  const host = parseHost(below ? written.slice(2) : written);
  if (host === null) throw badEntry(entry, 'its host is not a name or an address');
  if (host.kind === 'address') {
    // `127.1` and `[::ffff:10.0.0.1]` mean an address, but not the one that a reader of the setting takes them for.
    if (below || !isPlainlyWritten(written, host.address)) {
      throw badEntry(entry, 'its address is not plainly written');
    }
    const width = host.address instanceof ipaddr.IPv4 ? 32 : 128;
    const prefixBits = bits === undefined ? width : Number(bits);
    if (prefixBits > width) throw badEntry(entry, `its prefix is longer than ${width} bits`);
    return { kind: 'cidr', network: host.address, prefixBits };
  }
  if (bits !== undefined) throw badEntry(entry, 'a host name has no prefix length');
  return { kind: below ? 'below' : 'name', name: host.text };
}

function isPlainlyWritten(written: string, address: Ip): boolean {
  return address instanceof ipaddr.IPv4 ? written === address.toString() : written.startsWith('[');
}

function parsePorts(entry: string, groups: Readonly<Record<string, string | undefined>>): AllowRule['ports'] {
  if (groups['any'] !== undefined) return { from: 1, to: 65_535 };
  if (groups['from'] === undefined) return null;
  const from = Number(groups['from']);
  const to = Number(groups['to'] ?? groups['from']);
  if (from < 1 || to > 65_535 || from > to) throw badEntry(entry, 'its ports are not within 1 to 65535');
  return { from, to };
}

function badEntry(entry: string, reason: string): AppError {
  return new AppError(
    'invalid_config',
    `POPBRIDGE_EGRESS_ALLOW: bad entry ${quoteInput(entry)}: ${reason}. An entry is ${GRAMMAR}.`,
  );
}

export function coversPort(rule: AllowRule, port: number, defaultPorts: ReadonlySet<number>): boolean {
  return rule.ports === null ? defaultPorts.has(port) : port >= rule.ports.from && port <= rule.ports.to;
}

export function coversName(rule: AllowRule, host: Host): boolean {
  if (host.kind !== 'name' || rule.target.kind === 'cidr') return false;
  if (rule.target.kind === 'name') return host.text === rule.target.name;
  return host.text.endsWith(`.${rule.target.name}`);
}

export function coversAddress(rule: AllowRule, address: Ip): boolean {
  if (rule.target.kind !== 'cidr' || rule.target.network.kind() !== address.kind()) return false;
  return address.match([rule.target.network, rule.target.prefixBits] as [ipaddr.IPv4 & ipaddr.IPv6, number]);
}
