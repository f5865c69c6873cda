/** Serves the metrics, and nothing else, on a port of its own: whoever may read them need not reach the API, nor the other way. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AppError } from '../errors.ts';
import { metricsTimeoutMs } from './limits.ts';
import type { Metrics } from './metrics.ts';

export interface MetricsServer {
  url: string;
  close(): Promise<void>;
}

/** @throws AppError `invalid_config` when the address cannot be listened on. */
export async function startMetricsServer(
  metrics: Pick<Metrics, 'render' | 'contentType'>,
  host: string,
  port: number,
): Promise<MetricsServer> {
  const server = createServer({ requestTimeout: metricsTimeoutMs }, (request, response) => {
    const isKnown = request.url === '/metrics' && (request.method === 'GET' || request.method === 'HEAD');
    if (!isKnown) return void response.writeHead(404).end('Not found: GET /metrics is all there is.\n');
    metrics.render().then(
      (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const text = `Metrics cannot be served on ${host}:${port}: ${cause.code ?? cause.message}. Set POPBRIDGE_METRICS_PORT.`;
      reject(new AppError('invalid_config', text, { cause }));
    });
    server.listen(port, host, resolve);
  });
  const { port: taken } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${taken}`,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}
