/** A webhook sender and endpoints of every kind for it, all gone again after each test. */
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach } from 'vitest';
import type { Answer } from '../../src/webhook/answer.ts';
import { createSender, type Sender } from '../../src/webhook/sender.ts';

export type SenderOptions = Partial<Parameters<typeof createSender>[0]>;

export const LOOPBACK = [{ address: '127.0.0.1', family: 4 }] as const;
/** Longer than an answer takes on a busy machine. */
const TIMEOUT_MS = 10_000;

export interface Listening {
  port: number;
  /** Connections accepted so far. */
  sockets: Socket[];
  close(): Promise<void>;
}

export interface SenderFixture {
  listen(server: Server): Promise<Listening>;
  serveHttp(answer: RequestListener): Promise<Listening>;
  serveTcp(answer: (socket: Socket) => void): Promise<Listening>;
  /** Loopback only, with a time limit of ten seconds. */
  makeSender(over?: SenderOptions): Sender;
}

export function useSender(): SenderFixture {
  const cleanups: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });

  async function listen(server: Server): Promise<Listening> {
    const sockets: Socket[] = [];
    server.on('connection', (socket: Socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const close = async (): Promise<void> => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    };
    cleanups.push(close);
    return { port: (server.address() as AddressInfo).port, sockets, close };
  }

  return {
    listen,
    serveHttp: (answer) => listen(createHttpServer(answer)),
    serveTcp: (answer) => listen(createTcpServer(answer)),
    makeSender(over = {}) {
      const sender = createSender({
        resolve: async () => LOOPBACK,
        proxy: null,
        userAgent: 'popbridge-test',
        timeoutMs: TIMEOUT_MS,
        ...over,
      });
      cleanups.push(() => sender.close());
      return sender;
    },
  };
}

export type Said = Pick<Answer, 'status' | 'detail'>;

/** What was said, without how long it took. */
export async function post(sender: Sender, url: string): Promise<Said> {
  const { status, detail } = await sender.post(url, { 'webhook-id': 'evt_1' }, Buffer.from('{"n":1}'));
  return { status, detail };
}
