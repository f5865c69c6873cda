/**
 * One HTTP request to a webhook's URL: one budget for all of it, no redirects, a bounded answer, and only the addresses
 * that the egress policy gives at connect time.
 */
import { Agent, request } from 'undici';
import { createCheckedConnector, type ResolveAddresses } from '../egress/connector.ts';
import { untilAborted } from '../egress/lookup.ts';
import { AppError, toError } from '../errors.ts';
import { answerBytesMax, attemptTimeoutMs, connectionsPerHostMax, detailCharsMax } from './limits.ts';

export interface Answer {
  /** Null where no answer came. */
  status: number | null;
  /** What the endpoint said, or why there is no answer; bounded. */
  detail: string;
}

export interface Sender {
  /** Never throws for what the endpoint or the network does, and always resolves within the time limit. */
  post(url: string, headers: Record<string, string>, body: Buffer): Promise<Answer>;
  /** Call when no attempt is under way: those that are end without an answer. */
  close(): Promise<void>;
}

export interface SenderPorts {
  resolve: ResolveAddresses;
  userAgent: string;
  /** Of one attempt; `attemptTimeoutMs` unless set. */
  timeoutMs?: number;
}

export function createSender({ resolve, userAgent, timeoutMs = attemptTimeoutMs }: SenderPorts): Sender {
  const agent = new Agent({
    connections: connectionsPerHostMax,
    pipelining: 1,
    connect: createCheckedConnector(resolve, timeoutMs),
  });
  return {
    async post(url, headers, body) {
      const signal = AbortSignal.timeout(timeoutMs);
      try {
        const answer = request(url, {
          method: 'POST',
          dispatcher: agent,
          headers: { 'content-type': 'application/json', 'user-agent': userAgent, ...headers },
          body,
          signal,
        });
        const response = await untilAborted(answer, signal);
        return { status: response.statusCode, detail: quote(await readStart(response.body)) };
      } catch (error) {
        return { status: null, detail: explain(toError(error), timeoutMs) };
      }
    },
    close: () => agent.destroy(),
  };
}

/** The beginning of an answer; the rest is neither read nor waited for. */
async function readStart(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= answerBytesMax) break;
    }
  } catch {
    // Cut off or too slow: the status has been said, and what came is enough to quote.
  }
  return Buffer.concat(chunks).subarray(0, answerBytesMax).toString();
}

function explain(error: Error, timeoutMs: number): string {
  if (error instanceof AppError) return error.message.slice(0, detailCharsMax);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (error.name === 'TimeoutError' || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return `No answer within ${timeoutMs / 1000} s.`;
  }
  return `No answer: ${code || error.name}.`;
}

function quote(text: string): string {
  const cut = text.length > detailCharsMax ? `${text.slice(0, detailCharsMax)}...` : text;
  return cut.replace(/[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff]/g, ' ').trim();
}
