/** `openssl s_server`: a TLS server that sends the alerts of a real one. Node's own closes the connection instead. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface OpensslServer {
  readonly port: number;
  close(): Promise<void>;
}

/** @param args such as `-tls1_2` or `-Verify 1`; `-cert` and `-key` among them. */
export async function startOpensslServer(args: readonly string[]): Promise<OpensslServer> {
  // Its standard input stays open: it closes its connections when that ends.
  const child = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /^ACCEPT 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port === undefined) continue;
    child.stdout.resume();
    return {
      port: Number(port),
      async close() {
        child.kill();
        await exited;
      },
    };
  }
  throw new Error(`openssl s_server did not start with ${args.join(' ')}.`);
}
