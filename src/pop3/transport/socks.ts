/** A tunnel through a SOCKS5 proxy (RFC 1928), with user name and password (RFC 1929) where it wants them. */
import { isIP, type Socket } from 'node:net';
import type { ProxyServer } from './proxy-url.ts';
import { proxyFailed, readAnswer, type Target } from './tunnel.ts';
import type { Cutoff } from './waits.ts';

const VERSION = 5;
const CONNECT = 1;
const NO_LOGIN = 0;
const PASSWORD_LOGIN = 2;
const NO_METHOD = 0xff;

/** RFC 1928 §6, as far as another address of the target may fare better. */
const REFUSALS = new Map([
  [1, 'it failed for a reason that it does not tell'],
  [2, 'its rules do not allow it'],
  [3, 'it has no route to the network'],
  [4, 'it cannot reach the host'],
  [5, 'the connection was refused'],
  [6, 'the host does not answer it'],
  [8, 'it does not know this kind of address'],
]);

/** Null once the socket leads to the target; otherwise why not. @throws Pop3ConnectionError, or the reason of the signal. */
export async function requestSocksTunnel(
  socket: Socket,
  proxy: ProxyServer,
  { host, port }: Target,
  cutoff: Cutoff,
): Promise<string | null> {
  const methods = proxy.credentials ? [NO_LOGIN, PASSWORD_LOGIN] : [NO_LOGIN];
  socket.write(Buffer.from([VERSION, methods.length, ...methods]));
  const [version, method = NO_METHOD] = await readAnswer(socket, proxy, cutoff, (bytes) => atLeast(bytes, 2));
  if (version !== VERSION) throw proxyFailed(proxy, 'does not speak SOCKS5');
  if (method === PASSWORD_LOGIN && proxy.credentials) await logIn(socket, proxy, proxy.credentials, cutoff);
  else if (method === NO_METHOD) throw proxyFailed(proxy, refusedLogin(proxy));
  else if (method !== NO_LOGIN) throw proxyFailed(proxy, 'chose a way to log in that it was not offered');

  socket.write(Buffer.concat([Buffer.from([VERSION, CONNECT, 0]), encodeAddress(host), encodePort(port)]));
  const reply = await readAnswer(socket, proxy, cutoff, replyLength);
  const [replyVersion, status = 1] = reply;
  if (replyVersion !== VERSION) throw proxyFailed(proxy, 'does not speak SOCKS5');
  if (status === 0) return null;
  const refusal = REFUSALS.get(status);
  if (refusal === undefined) throw proxyFailed(proxy, `answers with the unknown status ${status}`);
  return refusal;
}

async function logIn(
  socket: Socket,
  proxy: ProxyServer,
  { username, password }: NonNullable<ProxyServer['credentials']>,
  cutoff: Cutoff,
): Promise<void> {
  socket.write(Buffer.concat([Buffer.from([1]), encodeCounted(username), encodeCounted(password)]));
  const [, status] = await readAnswer(socket, proxy, cutoff, (bytes) => atLeast(bytes, 2));
  if (status !== 0) throw proxyFailed(proxy, 'refused the user name or the password');
}

function refusedLogin({ credentials }: ProxyServer): string {
  return credentials ? 'takes neither the user name and password nor none' : 'wants a user name and a password';
}

function atLeast(bytes: Buffer, length: number): number | null {
  return bytes.length < length ? null : length;
}

/** RFC 1928 §6. A refusal is read by its status alone: some proxies leave the address out and close. */
function replyLength(bytes: Buffer): number | null {
  const [version, status, , kind, nameLength = 0] = bytes;
  if (bytes.length < 2) return null;
  if (version !== VERSION || status !== 0) return bytes.length;
  if (bytes.length < 5) return null;
  const addressLength = kind === 1 ? 4 : kind === 4 ? 16 : 1 + nameLength;
  return atLeast(bytes, 4 + addressLength + 2);
}

function encodeAddress(host: string): Buffer {
  switch (isIP(host)) {
    case 4:
      return Buffer.from([1, ...host.split('.').map(Number)]);
    case 6:
      return Buffer.concat([Buffer.from([4]), encodeIpv6(host)]);
    default:
      return Buffer.concat([Buffer.from([3]), encodeCounted(host)]);
  }
}

/** Without the zone, which names an interface of this machine. */
function encodeIpv6(address: string): Buffer {
  const canonical = new URL(`http://[${address.replace(/%.*/, '')}]`).hostname.slice(1, -1);
  const [left = [], right = []] = canonical.split('::').map((half) => half.split(':').filter(Boolean));
  const gap = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return Buffer.from([...left, ...gap, ...right].map((group) => group.padStart(4, '0')).join(''), 'hex');
}

function encodePort(port: number): Buffer {
  return Buffer.from([port >> 8, port & 0xff]);
}

function encodeCounted(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}
