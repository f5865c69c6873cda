/** A TCP proxy in front of a mail server that breaks what comes from it, at a byte that the test chooses, and shows what passes by. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export type Fault =
  /** The connection ends, in order or by a reset, after so many bytes of the server. */
  | { kind: 'cut' | 'reset'; atByte: number }
  /** Nothing more comes. */
  | { kind: 'stall'; atByte: number }
  /** What follows comes byte by byte for a while. */
  | { kind: 'slow'; atByte: number }
  /** Bytes that mean nothing come instead of what follows, and then the end. */
  | { kind: 'garbage'; atByte: number };

export interface FaultProxyOptions {
  port: number;
  /** Of each connection, from 1. */
  fault?(connection: number): Fault | null;
  /** Called when so many bytes of the server have passed in all connections together, before these are sent on. */
  onServerBytes?(total: number): void;
  /** What the client sends is held back until this resolves. */
  onClientLine?(line: string, session: ProxiedSession): Promise<void>;
}

export interface ProxiedSession {
  /** Unique-ids by message number, as this session's listing has them. */
  readonly uidls: ReadonlyMap<number, string>;
}

export interface FaultProxy {
  readonly port: number;
  readonly connections: number;
  /** Sessions that are open now. */
  readonly open: number;
  /** The most sessions that were open at once. */
  readonly openMax: number;
  /** What `onClientLine` has thrown. */
  readonly complaints: readonly unknown[];
  close(): Promise<void>;
}

const SLOW_BYTES = 300;

export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const sockets = new Set<Socket>();
  const complaints: unknown[] = [];
  let connections = 0;
  let open = 0;
  let openMax = 0;
  let total = 0;

  async function serve(client: Socket): Promise<void> {
    connections += 1;
    open += 1;
    openMax = Math.max(openMax, open);
    // The client has ended when it says so: what is on the way to it does not count.
    const ended = Promise.race([once(client, 'end'), once(client, 'close')]).catch(() => undefined);
    void ended.then(() => (open -= 1));
    const fault = options.fault?.(connections) ?? null;
    const upstream = connect({ host: '127.0.0.1', port: options.port, noDelay: true });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
    }
    client.once('close', () => upstream.destroy());
    upstream.once('close', () => client.end());
    const uidls = new Map<number, string>();
    void forwardClient(client, upstream, { uidls });
    await forwardServer(upstream, client, fault, uidls);
  }

  async function forwardClient(client: Socket, upstream: Socket, session: ProxiedSession): Promise<void> {
    try {
      for await (const chunk of client as AsyncIterable<Buffer>) {
        for (const line of chunk.toString('latin1').split('\r\n')) {
          await options.onClientLine?.(line, session).catch((error: unknown) => complaints.push(error));
        }
        upstream.write(chunk);
      }
    } catch {
      // Its end is the upstream's.
    }
  }

  async function forwardServer(
    upstream: Socket,
    client: Socket,
    fault: Fault | null,
    uidls: Map<number, string>,
  ): Promise<void> {
    let passed = 0;
    let text = '';
    try {
      for await (const chunk of upstream as AsyncIterable<Buffer>) {
        total += chunk.length;
        options.onServerBytes?.(total);
        // Dovecot's unique-ids; what a mail holds is not to be taken for them.
        text = (text + chunk.toString('latin1')).slice(-100_000);
        for (const [, number, uidl] of text.matchAll(/^(\d+) ([0-9a-f]{16})\r$/gm))
          uidls.set(Number(number), uidl ?? '');
        const before = passed;
        passed += chunk.length;
        if (fault === null || passed <= fault.atByte) {
          client.write(chunk);
          continue;
        }
        const at = Math.max(0, fault.atByte - before);
        client.write(chunk.subarray(0, at));
        if (await breakOff(fault, client, chunk.subarray(at))) return;
      }
    } catch {
      // Somebody has gone.
    }
    client.end();
  }

  /** False where the connection goes on. */
  async function breakOff(fault: Fault, client: Socket, rest: Buffer): Promise<boolean> {
    if (fault.kind === 'slow') {
      for (const byte of rest.subarray(0, SLOW_BYTES)) {
        client.write(Buffer.of(byte));
        await delay(1);
      }
      client.write(rest.subarray(SLOW_BYTES));
      return false;
    }
    if (fault.kind === 'stall') return new Promise<boolean>((resolve) => client.once('close', () => resolve(true)));
    if (fault.kind === 'garbage') client.write(Buffer.from(rest.map((byte) => byte ^ 0xa5)).subarray(0, 2000));
    if (fault.kind === 'reset') client.resetAndDestroy();
    else client.end();
    return true;
  }

  const server = createServer({ noDelay: true }, (client) => void serve(client)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    get open() {
      return open;
    },
    get openMax() {
      return openMax;
    },
    complaints,
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
