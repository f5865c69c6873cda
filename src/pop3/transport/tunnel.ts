/** What the dialects of proxies have in common: answers read to their last byte and no further. */
import { proxyAnswerBytesMax } from '../limits.ts';
import type { Socket } from 'node:net';
import type { Pop3ConnectionError } from '../errors.ts';
import type { ProxyServer } from './proxy-url.ts';
import { connectionFailed, untilEvent, type Cutoff } from './waits.ts';

export interface Target {
  /** A name in ASCII, or an IP literal without brackets. */
  host: string;
  port: number;
}

/**
 * The answer that `lengthOf` finds at the front of what comes; it gives null until the answer is whole. What is behind
 * stays in the socket: the greeting of the POP3 server may come in the same read.
 */
export async function readAnswer(
  socket: Socket,
  proxy: ProxyServer,
  cutoff: Cutoff,
  lengthOf: (bytes: Buffer) => number | null,
): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  for (;;) {
    const chunk = socket.read() as Buffer | null;
    if (chunk) {
      bytes = Buffer.concat([bytes, chunk]);
      const length = lengthOf(bytes);
      if (length !== null) {
        if (bytes.length > length) socket.unshift(bytes.subarray(length));
        return bytes.subarray(0, length);
      }
      if (bytes.length > proxyAnswerBytesMax) throw proxyFailed(proxy, 'answers without an end');
      continue;
    }
    try {
      await untilEvent(socket, 'readable', cutoff);
    } catch (error) {
      throw cutoff.reason ? error : proxyFailed(proxy, 'closed the connection before it answered', error);
    }
  }
}

/** For trouble with the proxy itself, whatever the target. */
export function proxyFailed(proxy: ProxyServer, what: string, cause?: unknown): Pop3ConnectionError {
  return connectionFailed(`The proxy ${proxy.label} ${what}. Check the proxy settings.`, {
    cause,
    fields: { proxy: proxy.label },
  });
}
