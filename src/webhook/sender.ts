/**
 * One HTTP request to a webhook's URL: one budget for all of it, no redirects, a bounded answer, and only the addresses
 * that the egress policy gives at connect time.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { Agent, request } from 'undici';
import { createCheckedConnector, type ConnectTimes, type ResolveAddresses } from '../egress/connector.ts';
import { untilAborted } from '../egress/lookup.ts';
import { AppError, toError } from '../errors.ts';
import { readStart, type Answer, type Phases } from './answer.ts';
import { attemptTimeoutMs, detailCharsMax } from './limits.ts';

export interface Sender {
  /**
   * Never throws for what the endpoint or the network does, and always resolves within the time limit.
   * @param timeoutMs of this attempt; the sender's own unless given.
   */
  post(url: string, headers: Record<string, string>, body: Buffer, timeoutMs?: number): Promise<Answer>;
  /** Call when no attempt is under way: those that are end without an answer. */
  close(): Promise<void>;
}

export interface SenderPorts {
  resolve: ResolveAddresses;
  userAgent: string;
  /** Of one attempt; `attemptTimeoutMs` unless set. */
  timeoutMs?: number;
}

/** Of one attempt, once its head has been written. */
interface Sent {
  socket: Socket;
  sentMs: number;
}

const SEND_HEADERS = 'undici:client:sendHeaders';

export function createSender({ resolve, userAgent, timeoutMs: usualMs = attemptTimeoutMs }: SenderPorts): Sender {
  /** Until the first request is sent on them. */
  const times = new WeakMap<Socket, ConnectTimes>();
  /** By the body, which is one attempt's alone: undici says on which socket a request goes out nowhere but here. */
  const sent = new WeakMap<object, Sent>();
  const noteSent = (message: unknown): void => {
    const { request: going, socket } = message as { request: { body: unknown }; socket: Socket };
    if (Buffer.isBuffer(going.body)) sent.set(going.body, { socket, sentMs: performance.now() });
  };
  subscribe(SEND_HEADERS, noteSent);
  const agent = new Agent({
    // As many as there are attempts, which others bound: many webhooks may be on one host, and those that hang are not to have its sockets.
    connections: null,
    pipelining: 1,
    connect: createCheckedConnector(resolve, usualMs, (socket, taken) => times.set(socket, taken)),
  });

  function describe(
    body: Buffer,
    fromMs: number,
    firstByteAtMs: number | null,
  ): Pick<Answer, 'phases' | 'remoteAddress'> {
    const { socket, sentMs } = sent.get(body) ?? {};
    const taken = socket && times.get(socket);
    if (socket) times.delete(socket);
    const phases: Phases = {
      dnsMs: round(taken?.dnsMs),
      connectMs: round(taken?.connectMs),
      tlsMs: round(taken?.tlsMs),
      firstByteMs: firstByteAtMs === null || sentMs === undefined ? null : round(firstByteAtMs - sentMs),
      totalMs: round(performance.now() - fromMs) ?? 0,
    };
    return { phases, remoteAddress: socket?.remoteAddress ?? null };
  }

  return {
    async post(url, headers, body, timeoutMs = usualMs) {
      const signal = AbortSignal.timeout(timeoutMs);
      const fromMs = performance.now();
      try {
        const going = request(url, {
          method: 'POST',
          dispatcher: agent,
          headers: { 'content-type': 'application/json', 'user-agent': userAgent, ...headers },
          body,
          signal,
        });
        const response = await untilAborted(going, signal);
        const firstByteAtMs = performance.now();
        const said = response.headers;
        const detail = await readStart(response.body, headerOf(said['content-encoding']));
        return {
          status: response.statusCode,
          detail,
          retryAfter: headerOf(said['retry-after']),
          ...describe(body, fromMs, firstByteAtMs),
        };
      } catch (error) {
        const detail = explain(toError(error), timeoutMs);
        return { status: null, detail, retryAfter: null, ...describe(body, fromMs, null) };
      }
    },
    close() {
      unsubscribe(SEND_HEADERS, noteSent);
      return agent.destroy();
    },
  };
}

function headerOf(value: string | string[] | undefined): string | null {
  return (Array.isArray(value) ? value[0] : value) ?? null;
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
