/** A TCP port that leads to one unix socket, and later to another: as a load balancer in front of a Redis that fails over. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface TcpSwitch {
  readonly port: number;
  /** Connections from now on lead there; those that are open go on as they are. */
  turn(socketPath: string): void;
  close(): Promise<void>;
}

export async function startTcpSwitch(socketPath: string): Promise<TcpSwitch> {
  const sockets = new Set<Socket>();
  let target = socketPath;
  const server = createServer({ noDelay: true }, (client) => {
    const onward = connect(target);
    for (const [socket, other] of [
      [client, onward],
      [onward, client],
    ] as const) {
      sockets.add(socket);
      socket
        .on('error', () => undefined)
        .once('close', () => {
          sockets.delete(socket);
          other.destroy();
        });
      socket.pipe(other);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    turn(path) {
      target = path;
    },
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
