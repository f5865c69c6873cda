/** An HTTP proxy before a test's S3 server, which can be told to fail in the ways that S3 and the way to it do. */
import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Fault =
  /** An answer in place of the server's; `ECHO` in it becomes the head of the request, and `TOKEN` its session token. */
  | { status: number; body?: string }
  /** The request is read, and never answered. */
  | 'stall'
  | HalfAnswer;

/** The answer stops after some bytes of its body, and the connection with it; or without. */
type HalfAnswer = { cutAfterBytes: number } | { stallAfterBytes: number };

export interface S3Proxy {
  readonly url: string;
  /** `METHOD path` of each request, the query after it. */
  readonly requests: readonly string[];
  /** Connections to the proxy that a request is under way on. */
  readonly busy: number;
  /** Asked for each request; undefined lets it through. */
  fault: ((method: string, path: string, attempt: number) => Fault | undefined) | undefined;
  /** What range the server is told, where it is not the one that is asked for; null for none. */
  range: string | null | undefined;
  /** Resolves when no request is under way. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

export async function startS3Proxy(target: string): Promise<S3Proxy> {
  const requests: string[] = [];
  const underWay = new Set<ServerResponse>();
  const server = createServer((incoming, answer) => {
    const { method = '', url = '' } = incoming;
    requests.push(`${method} ${url}`);
    underWay.add(answer);
    answer.on('close', () => underWay.delete(answer));
    incoming.on('error', () => answer.destroy());
    const fault = proxy.fault?.(method, url, requests.length);
    if (fault === undefined || (typeof fault === 'object' && !('status' in fault))) forward(incoming, answer, fault);
    else if (fault === 'stall') incoming.resume();
    else void refuse(incoming, answer, fault);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const proxy: S3Proxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get busy() {
      return underWay.size;
    },
    fault: undefined,
    range: undefined,
    async idle() {
      const signal = AbortSignal.timeout(5_000);
      for (const answer of underWay) await once(answer, 'close', { signal });
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return proxy;

  function forward(incoming: IncomingMessage, answer: ServerResponse, fault: HalfAnswer | undefined): void {
    const { method, url } = incoming;
    const headers = { ...incoming.headers };
    if (proxy.range === null) delete headers.range;
    else if (proxy.range !== undefined) headers.range = proxy.range;
    const onward = request(new URL(url ?? '/', target), { method, headers, agent: false }, (from) => {
      answer.writeHead(from.statusCode ?? 502, from.headers);
      if (fault) void breakOff(from, answer, fault);
      else from.pipe(answer);
    });
    onward.on('error', () => answer.destroy());
    answer.on('close', () => onward.destroy());
    incoming.pipe(onward);
  }

  async function breakOff(from: IncomingMessage, answer: ServerResponse, fault: HalfAnswer): Promise<void> {
    const bytesMax = 'cutAfterBytes' in fault ? fault.cutAfterBytes : fault.stallAfterBytes;
    let bytes = 0;
    for await (const chunk of from as AsyncIterable<Buffer>) {
      const part = chunk.subarray(0, bytesMax - bytes);
      bytes += part.length;
      await new Promise((resolve) => answer.write(part, resolve));
      if (bytes === bytesMax) break;
    }
    if ('cutAfterBytes' in fault) answer.destroy();
  }

  async function refuse(
    incoming: IncomingMessage,
    answer: ServerResponse,
    { status, body = '' }: { status: number; body?: string },
  ): Promise<void> {
    incoming.resume();
    await once(incoming, 'end');
    const head = incoming.rawHeaders.join(' ').replaceAll(/[<&>]/g, ' ');
    const text = body.replace('ECHO', head).replace('TOKEN', String(incoming.headers['x-amz-security-token']));
    answer.writeHead(status, { 'content-type': 'application/xml' }).end(text);
  }
}
