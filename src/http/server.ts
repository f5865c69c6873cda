/** The listening socket: start, and an end that lets requests in progress finish. */
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';
import type { Server } from 'node:http';
import { AppError } from '../errors.ts';
import { headerBytesMax, headersTimeoutMs, idleSweepMs, keepAliveTimeoutMs, requestTimeoutMs } from './limits.ts';

export interface HttpServer {
  /** `http://host:port`, with the port that was taken. */
  url: string;
  /** Takes no more requests; those in progress have `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** @throws AppError `invalid_config` when the address cannot be listened on. */
export async function startHttpServer(app: Hono, host: string, port: number): Promise<HttpServer> {
  const server = createAdaptorServer({
    fetch: app.fetch,
    serverOptions: {
      maxHeaderSize: headerBytesMax,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: keepAliveTimeoutMs,
    },
  }) as Server;
  await listen(server, host, port);
  const address = server.address();
  const actualPort = typeof address === 'object' && address ? address.port : port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actualPort}`,
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // Those become idle only now whose last answer is still being sent: clients keep them, and would hold up the end.
      const sweep = setInterval(() => server.closeIdleConnections(), idleSweepMs);
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearInterval(sweep);
      clearTimeout(timer);
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'something else listens there' : (error.code ?? error.message);
      reject(
        new AppError(
          'invalid_config',
          `The API cannot listen on ${host}:${port}: ${why}. Set POPBRIDGE_HOST and POPBRIDGE_PORT.`,
          { cause: error },
        ),
      );
    });
    server.listen(port, host, resolve);
  });
}
