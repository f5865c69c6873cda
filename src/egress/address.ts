/**
 * What an IP address stands for: public, metadata service, or neither.
 *
 * An IPv6 address may carry an IPv4 address that a gateway or tunnel on the way connects to instead, so an address is as
 * private as the most private address in it. Rules that allow more are not known here.
 */
import { domainToASCII } from 'node:url';
import ipaddr from 'ipaddr.js';

export type Ip = ipaddr.IPv4 | ipaddr.IPv6;

/** Credentials of the machine itself are a GET away on these, so no rule ever allows them. */
const METADATA_ADDRESSES: ReadonlySet<string> = new Set([
  '169.254.169.254', // AWS, Google Cloud, Azure, DigitalOcean, OpenStack and most others
  '169.254.170.2', // AWS ECS task credentials
  '169.254.170.23', // AWS EKS pod identity
  '169.254.0.23', // Tencent Cloud
  '168.63.129.16', // Azure WireServer, a public address by its number
  '100.100.100.200', // Alibaba Cloud
  '192.0.0.192', // Oracle Cloud Classic
  'fd00:ec2::254', // AWS
  'fd00:ec2::23', // AWS EKS pod identity
  'fd20:ce::254', // Google Cloud
]);

const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];
/** RFC 6052 §2.1: the well-known NAT64 prefix, which on an IPv6-only network leads to the public IPv4 internet. */
const NAT64: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('64:ff9b::'), 96];
/** RFC 8215: NAT64 within one network, so never public. */
const NAT64_LOCAL: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('64:ff9b:1::'), 48];
/** RFC 4291 §2.5.5.1, deprecated. */
const IPV4_COMPATIBLE: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('::'), 96];

/**
 * A strictly written address, IPv4-mapped IPv6 (RFC 4291 §2.5.5.2) unwrapped because the kernel connects to the IPv4 address.
 * Null for anything else, scoped addresses (`fe80::1%eth0`) among them: a zone names an interface of this machine.
 */
export function readAddress(text: string): Ip | null {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  // ipaddr.js takes ::8.8.8.8 for ::ffff:8.8.8.8, which is another address; the WHATWG parser writes it as ::808:808.
  const canonical = /^[\da-f:.]+$/i.test(text) ? domainToASCII(`[${text}]`).slice(1, -1) : '';
  if (!ipaddr.IPv6.isValid(canonical)) return null;
  const address = ipaddr.IPv6.parse(canonical);
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

export function isMetadataService(address: Ip): boolean {
  return [address, ...embeddedAddresses(address)].some((each) => METADATA_ADDRESSES.has(each.toString()));
}

/** Whether the address, and every address embedded in it, is public unicast. */
export function isPublic(address: Ip): boolean {
  if (address instanceof ipaddr.IPv4) return address.range() === 'unicast';
  const range = address.range();
  if (range === '6to4' || range === 'teredo' || address.match(NAT64)) return embeddedAddresses(address).every(isPublic);
  // ipaddr.js calls whatever it has no name for unicast; only 2000::/3 has been handed out (RFC 4291 §2.4).
  return range === 'unicast' && address.match(GLOBAL_UNICAST);
}

function embeddedAddresses(address: Ip): ipaddr.IPv4[] {
  if (address instanceof ipaddr.IPv4) return [];
  const at = (index: number): number => address.parts[index] ?? 0;
  const range = address.range();
  if (range === '6to4') return [fromHalves(at(1), at(2))]; // RFC 3056 §2
  if (range === 'teredo') return [fromHalves(at(2), at(3)), fromHalves(~at(6), ~at(7))]; // RFC 4380 §4: server, client
  if (address.match(NAT64_LOCAL)) {
    // A network chooses the prefix length: /48 has the bits around the reserved octet (RFC 6052 §2.2), /96 the last 32.
    return [fromHalves(at(3), ((at(4) & 0xff) << 8) | (at(5) >> 8)), fromHalves(at(6), at(7))];
  }
  const tail = address.match(NAT64) || address.match(IPV4_COMPATIBLE) || range === 'rfc6145';
  return tail ? [fromHalves(at(6), at(7))] : [];
}

function fromHalves(high: number, low: number): ipaddr.IPv4 {
  return new ipaddr.IPv4([(high >> 8) & 0xff, high & 0xff, (low >> 8) & 0xff, low & 0xff]);
}
