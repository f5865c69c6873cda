/**
 * Receives webhooks on the loopback and keeps them as they came: headers and the exact bytes that were signed.
 *
 * It does not verify signatures (whoever asks holds the secret) and routes nothing: every path is the same hook.
 */

import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WEBHOOK_RECEIVER_LIMITS } from './limits.ts';
import type { WebhookReceiverLimits } from './limits.ts';

export interface ReceivedWebhook {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The bytes as they came. */
  readonly body: Buffer;
  readonly receivedAt: Date;
}

export interface WebhookReceiverOptions {
  /** `127.0.0.1` unless set. */
  readonly host?: string;
  /** 0, a free one, unless set. */
  readonly port?: number;
  /** The HTTP status to answer with: 204 unless set. */
  readonly answer?: (webhook: ReceivedWebhook) => number | Promise<number>;
  readonly limits?: Partial<WebhookReceiverLimits>;
}

export interface WebhookReceiver {
  readonly url: string;
  /** All that came in, whatever it was answered, in order of arrival. */
  readonly received: readonly ReceivedWebhook[];
  /** The first one that no earlier `next` has returned; one call at a time. Throws when none came within `timeoutMs`. */
  readonly next: (timeoutMs: number) => Promise<ReceivedWebhook>;
  /** All that came in, once there are `count` of them. Throws when fewer came within `timeoutMs`. */
  readonly waitFor: (count: number, timeoutMs: number) => Promise<readonly ReceivedWebhook[]>;
  readonly close: () => Promise<void>;
}

/** Resolves when the receiver listens. Throws what `listen` throws, for instance EADDRINUSE. */
export async function startWebhookReceiver(options: WebhookReceiverOptions = {}): Promise<WebhookReceiver> {
  const { host = '127.0.0.1', port = 0, answer = () => 204 } = options;
  const limits = { ...WEBHOOK_RECEIVER_LIMITS, ...options.limits };
  const received: ReceivedWebhook[] = [];
  const arrivals = new EventEmitter().setMaxListeners(0);
  let taken = 0;

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request, limits.bodyBytesMax);
    if (body === undefined) {
      // The rest of the body is not read, so that this connection can carry no further request.
      response.writeHead(413, { connection: 'close' }).end();
      return;
    }
    if (received.length >= limits.keptMax) {
      response.writeHead(507).end();
      return;
    }
    const webhook = { path: request.url ?? '/', headers: request.headers, body, receivedAt: new Date() };
    received.push(webhook);
    arrivals.emit('arrival');
    response.writeHead(await answer(webhook)).end();
  }

  async function waitFor(count: number, timeoutMs: number): Promise<readonly ReceivedWebhook[]> {
    const signal = AbortSignal.timeout(timeoutMs);
    while (received.length < count) {
      try {
        await once(arrivals, 'arrival', { signal });
      } catch (error) {
        throw new Error(`Waited ${timeoutMs} ms for ${count} webhooks, got ${received.length}.`, { cause: error });
      }
    }
    return [...received];
  }

  const server = createServer((request, response) => {
    receive(request, response).catch(() => response.destroy());
  });
  server.listen(port, host);
  await once(server, 'listening');

  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}/`,
    received,
    waitFor,
    async next(timeoutMs) {
      const [webhook] = (await waitFor(taken + 1, timeoutMs)).slice(taken);
      if (webhook === undefined) throw new Error('Two calls of next() were under way at once.');
      taken += 1;
      return webhook;
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Undefined for a body over `bytesMax`, of which no more than that is kept in memory. */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).length;
    if (bytes > bytesMax) return undefined;
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
