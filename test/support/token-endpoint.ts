/** An OAuth 2.0 token endpoint of a test, which may lie in any way: over real HTTP, on this machine. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface TokenAsk {
  readonly form: Readonly<Record<string, string>>;
  readonly authorization: string | null;
  readonly path: string;
}

export type TokenAnswer = (ask: TokenAsk, response: ServerResponse) => void;

export interface TokenEndpoint {
  readonly url: string;
  /** In their order. */
  readonly asks: TokenAsk[];
  answer: TokenAnswer;
  close(): Promise<void>;
}

/** JSON with that status. */
export function say(status: number, body: object, headers: Record<string, string> = {}): TokenAnswer {
  return (_ask, response) =>
    void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

export function issue(accessToken: string, more: object = {}): TokenAnswer {
  return say(200, { access_token: accessToken, token_type: 'Bearer', expires_in: 3600, ...more });
}

export async function startTokenEndpoint(answer: TokenAnswer): Promise<TokenEndpoint> {
  const asks: TokenAsk[] = [];
  const endpoint = { asks, answer };
  const hear = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const form = Object.fromEntries(new URLSearchParams(await text(request)));
    const ask = { form, authorization: request.headers.authorization ?? null, path: request.url ?? '' };
    asks.push(ask);
    endpoint.answer(ask, response);
  };
  const server = createServer((request, response) => void hear(request, response).catch(() => response.destroy()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(endpoint, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  });
}
