/** A TCP port that leads to one server, and later to another, or to none: as a load balancer in front of a Redis that fails over. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** The path of a unix socket, or a port on the loopback. */
type Target = string | number;

export interface TcpSwitch {
  readonly port: number;
  /** Connections from now on lead there; those that are open go on as they are. */
  turn(target: Target): void;
  /** Connections that are open stay so, and nothing comes through any more. */
  freeze(): void;
  /** Ends all connections that are open. */
  cut(): void;
  close(): Promise<void>;
}

export async function startTcpSwitch(first: Target): Promise<TcpSwitch> {
  const sockets = new Set<Socket>();
  let target = first;
  const server = createServer({ noDelay: true }, (client) => {
    const onward = typeof target === 'string' ? connect(target) : connect(target, '127.0.0.1');
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
  const cut = (): void => sockets.forEach((socket) => socket.destroy());
  return {
    cut,
    freeze() {
      for (const socket of sockets) socket.unpipe().pause();
    },
    port: (server.address() as AddressInfo).port,
    turn(next) {
      target = next;
    },
    async close() {
      server.close();
      cut();
      await once(server, 'close');
    },
  };
}
