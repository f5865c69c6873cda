/**
 * A TCP port that leads to a Redis, and can go deaf: what is sent through it, on the connections that are chosen, is taken and never answered,
 * and none of them is closed. So looks a Redis behind a network that has forgotten its connections.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';

export interface DeafRedis {
  readonly port: number;
  /** For good, those that have sent, or will send, what the pattern finds. */
  deafen(pattern: RegExp): void;
  close(): Promise<void>;
}

export async function startDeafRedis(socketPath: string): Promise<DeafRedis> {
  let deaf: RegExp | null = null;
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer({ noDelay: true }, (client) => {
    const onward = connect(socketPath);
    let sent = '';
    const isDeaf = (): boolean => deaf?.test(sent) ?? false;
    client.on('data', (chunk: Buffer) => {
      sent = (sent + chunk.toString('latin1')).slice(-1_000_000);
      if (!isDeaf()) onward.write(chunk);
    });
    onward.on('data', (chunk: Buffer) => {
      if (!isDeaf()) client.write(chunk);
    });
    for (const [socket, other] of [
      [client, onward],
      [onward, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => undefined).once('close', () => void other.destroy());
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    deafen(pattern) {
      deaf = pattern;
    },
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
