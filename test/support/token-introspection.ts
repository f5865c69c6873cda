/** An OAuth 2 token introspection endpoint (RFC 7662), for mail servers that ask one whether a token is good. */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface TokenIntrospection {
  /** Takes the token as a form field by POST. */
  readonly url: string;
  close(): Promise<void>;
}

/** `userOf` gives the user that a token belongs to, or undefined where it is no token or no longer one. */
export async function startTokenIntrospection(
  userOf: (token: string) => string | undefined,
): Promise<TokenIntrospection> {
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const token = new URLSearchParams(await text(request)).get('token') ?? '';
      const username = userOf(token);
      const facts = username === undefined ? { active: false } : { active: true, username };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(facts));
    };
    answer().catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/introspect`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
