/**
 * An endpoint that webhooks are sent to, in a process of its own: what it takes is not to be counted as the sender's. Started by `fork`,
 * it says its port, and answers what it is asked. Below `/hang/` it takes requests and never answers, once it is told to. It speaks TLS
 * where it is given a certificate, and takes as long to answer as it is told.
 */
import { createServer as createPlain, type IncomingHttpHeaders, type RequestListener } from 'node:http';
import { createServer as createSecure } from 'node:https';
import { readFileSync } from 'node:fs';

export interface Arrival {
  path: string;
  eventId: string;
  /** Epoch milliseconds. */
  atMs: number;
}

export interface ReceivedRequest {
  headers: IncomingHttpHeaders;
  body: string;
}

export type ReceiverAsk =
  /** Says `received` once so many more have come. */
  | { ask: 'expect'; count: number }
  | { ask: 'hang' }
  | { ask: 'answer after'; ms: number }
  /** The arrivals since the last time that this was asked; the first one of each event at each path. */
  | { ask: 'arrivals' }
  | { ask: 'last' };

export type ReceiverTold =
  | { told: 'port'; port: number }
  | { told: 'received' }
  | { told: 'arrivals'; arrivals: Arrival[] }
  | { told: 'last'; last: ReceivedRequest };

const say = (told: ReceiverTold): void => void process.send?.(told);
let left = 0;
let hangs = false;
let answerMs = 0;
let arrivals = new Map<string, Arrival>();
let last: ReceivedRequest = { headers: {}, body: '' };

const take: RequestListener = (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const path = request.url ?? '';
    const eventId = String(request.headers['webhook-id']);
    const key = `${path} ${eventId}`;
    if (!arrivals.has(key)) arrivals.set(key, { path, eventId, atMs: Date.now() });
    if (hangs && path.startsWith('/hang/')) return;
    if (answerMs > 0) setTimeout(() => response.end('ok'), answerMs);
    else response.end('ok');
    left -= 1;
    if (left !== 0) return;
    last = { headers: request.headers, body: Buffer.concat(chunks).toString() };
    say({ told: 'received' });
  });
};
const { CERT_PATH, KEY_PATH } = process.env;
const server =
  CERT_PATH === undefined || KEY_PATH === undefined
    ? createPlain(take)
    : createSecure({ cert: readFileSync(CERT_PATH), key: readFileSync(KEY_PATH) }, take);
server.keepAliveTimeout = 60_000;
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('It listens at no port');
  say({ told: 'port', port: address.port });
});

process.on('message', (asked: ReceiverAsk) => {
  switch (asked.ask) {
    case 'expect':
      left = asked.count;
      arrivals = new Map();
      break;
    case 'hang':
      hangs = true;
      break;
    case 'answer after':
      answerMs = asked.ms;
      break;
    case 'arrivals':
      say({ told: 'arrivals', arrivals: [...arrivals.values()] });
      arrivals = new Map();
      break;
    case 'last':
      say({ told: 'last', last });
  }
});
process.on('disconnect', () => process.exit());
