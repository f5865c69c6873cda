/** A tunnel through an HTTP proxy by CONNECT (RFC 9110 §9.3.6), with Basic credentials (RFC 7617) where the URL has some. */
import type { Socket } from 'node:net';
import { quoteServerText } from '../replies.ts';
import { describe } from './endpoint.ts';
import type { ProxyServer } from './proxy-url.ts';
import { proxyFailed, readAnswer, type Target } from './tunnel.ts';
import type { Cutoff } from './waits.ts';

/** Null once the socket leads to the target; otherwise why not. @throws Pop3ConnectionError, or the reason of the signal. */
export async function requestHttpTunnel(
  socket: Socket,
  proxy: ProxyServer,
  target: Target,
  cutoff: Cutoff,
): Promise<string | null> {
  const { credentials } = proxy;
  const place = describe(target);
  const secret = credentials ? Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64') : '';
  const login = credentials ? `Proxy-Authorization: Basic ${secret}\r\n` : '';
  socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n${login}\r\n`);

  const head = (await readAnswer(socket, proxy, cutoff, headLength)).toString('latin1');
  const [, status = '', reason = ''] = /^HTTP\/1\.[01] (\d{3})(?: ([^\r\n]*))?\r?\n/.exec(head) ?? [];
  const said = `${status} ${quoteServerText(reason, [secret, credentials?.password ?? ''])}`;
  if (status.startsWith('2')) return null;
  switch (status) {
    case '407':
      throw proxyFailed(
        proxy,
        credentials ? 'refused the user name or the password' : 'wants a user name and a password',
      );
    // Another address of the target may fare better.
    case '502':
    case '503':
    case '504':
      return `it answered ${said}`;
    case '':
      throw proxyFailed(proxy, 'does not speak HTTP');
    default:
      throw proxyFailed(proxy, `refuses a tunnel to ${place}: ${said}`);
  }
}

/** The head ends with an empty line. What does not begin like HTTP will have no such end. */
function headLength(bytes: Buffer): number | null {
  const start = bytes.toString('latin1', 0, 5);
  if (!'HTTP/'.startsWith(start)) return bytes.length;
  const end = /\r?\n\r?\n/.exec(bytes.toString('latin1'));
  return end ? end.index + end[0].length : null;
}
