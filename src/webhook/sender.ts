/**
 * One HTTP request to a webhook's URL: one budget for all of it, no redirects, a bounded answer, and only the addresses
 * that the egress policy gives at connect time.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { createAgingAgent } from '../egress/aging-agent.ts';
import { createCheckedConnector, type Connected, type HttpsRoute } from '../egress/connector.ts';
import { AppError } from '../errors.ts';
import { quoteStart, type Answer, type Phases } from './answer.ts';
import { exchange } from './exchange.ts';
import { answerBytesMax, attemptTimeoutMs, detailCharsMax } from './limits.ts';

export interface Sender {
  /**
   * Never throws for what the endpoint or the network does, and always settles within the time limit.
   * @param timeoutMs of this attempt; the sender's own unless given.
   * @throws AppError `egress_unavailable`: the operator's proxy is at fault, and the endpoint was not reached.
   */
  post(url: string, headers: Record<string, string>, body: Buffer, timeoutMs?: number): Promise<Answer>;
  /** Call when no attempt is under way: those that are end without an answer. */
  close(): Promise<void>;
}

export interface SenderPorts extends HttpsRoute {
  userAgent: string;
  /** Of one attempt; `attemptTimeoutMs` unless set. */
  timeoutMs?: number;
  /** Of the connections that are kept; `connectionsAgeMsMax` unless set. */
  ageMsMax?: number;
}

/** Of one attempt, once its head has been written. */
interface Sent {
  socket: Socket;
  sentMs: number;
}

const SEND_HEADERS = 'undici:client:sendHeaders';

export function createSender(ports: SenderPorts): Sender {
  const { resolve, proxy, userAgent, timeoutMs: usualMs = attemptTimeoutMs, ageMsMax } = ports;
  /** How each connection was made: told of the first request on it, but for where it leads. */
  const made = new WeakMap<Socket, Connected & { isTold: boolean }>();
  /** By the body, which is one attempt's alone: undici says on which socket a request goes out nowhere but here. */
  const sent = new WeakMap<object, Sent>();
  const noteSent = (message: unknown): void => {
    const { request: going, socket } = message as { request: { body: unknown }; socket: Socket };
    if (Buffer.isBuffer(going.body)) sent.set(going.body, { socket, sentMs: performance.now() });
  };
  subscribe(SEND_HEADERS, noteSent);
  const connect = createCheckedConnector({
    resolve,
    proxy,
    timeoutMs: usualMs,
    observe: (socket, connected) => made.set(socket, { ...connected, isTold: false }),
  });
  // As many connections as there are attempts, which others bound: many webhooks may be on one host, and those that hang are not to have its sockets.
  const agent = createAgingAgent({ connections: null, pipelining: 1, connect }, ageMsMax);

  function describe(
    body: Buffer,
    fromMs: number,
    firstByteAtMs: number | null,
  ): Pick<Answer, 'phases' | 'remoteAddress'> {
    const { socket, sentMs } = sent.get(body) ?? {};
    const connected = socket && made.get(socket);
    const taken = connected?.isTold === false ? connected : null;
    if (connected) connected.isTold = true;
    const phases: Phases = {
      dnsMs: round(taken?.dnsMs),
      connectMs: round(taken?.connectMs),
      tlsMs: round(taken?.tlsMs),
      firstByteMs: firstByteAtMs === null || sentMs === undefined ? null : round(firstByteAtMs - sentMs),
      totalMs: round(performance.now() - fromMs) ?? 0,
    };
    return { phases, remoteAddress: connected?.address ?? null };
  }

  return {
    async post(url, headers, body, timeoutMs = usualMs) {
      const fromMs = performance.now();
      const { origin, pathname, search } = new URL(url);
      const going = { 'content-type': 'application/json', 'user-agent': userAgent, ...headers };
      const { status, firstByteAtMs, error, ...said } = await exchange(
        agent.current(),
        { origin, path: `${pathname}${search}`, method: 'POST', headers: going, body },
        answerBytesMax,
        timeoutMs,
      );
      const how = describe(body, fromMs, firstByteAtMs);
      if (status !== null) {
        const detail = await quoteStart(said.start, headerOf(said.headers['content-encoding']));
        return { status, detail, retryAfter: headerOf(said.headers['retry-after']), ...how };
      }
      const why = error ?? new Error('No answer came.');
      if (isProxyFault(why)) throw why;
      // It may wait for a shorter time than what else waits for the proxy.
      if (why.name === 'TimeoutError' && !sent.has(body) && proxy?.isAwaited(new URL(url).host))
        throw proxyUnanswered();
      return { status, detail: explain(why, timeoutMs), retryAfter: null, ...how };
    },
    async close() {
      unsubscribe(SEND_HEADERS, noteSent);
      await agent.close();
    },
  };
}

function headerOf(value: string | string[] | undefined): string | null {
  return (Array.isArray(value) ? value[0] : value) ?? null;
}

function isProxyFault(error: unknown): error is AppError {
  return error instanceof AppError && error.code === 'egress_unavailable';
}

function proxyUnanswered(): AppError {
  return new AppError(
    'egress_unavailable',
    'The egress proxy did not answer in time. What goes through it is tried again later.',
  );
}

/** To tenths. */
function round(ms: number | null | undefined): number | null {
  return ms === null || ms === undefined ? null : Math.round(ms * 10) / 10;
}

function explain(error: Error, timeoutMs: number): string {
  if (error instanceof AppError) return error.message.slice(0, detailCharsMax);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (error.name === 'TimeoutError' || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return `No answer within ${timeoutMs / 1000} s.`;
  }
  return `No answer: ${code || error.name}.`;
}
