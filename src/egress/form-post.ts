/**
 * A form sent to an HTTP endpoint that is not trusted: one time limit for all of it, no redirects, a bounded answer, and only the
 * addresses that the egress policy gives at connect time. What the answer means is its caller's question.
 */
import { request } from 'undici';
import { AppError, toError } from '../errors.ts';
import { untilAborted } from '../until-aborted.ts';
import { createAgingAgent } from './aging-agent.ts';
import { createCheckedConnector, type HttpsRoute } from './connector.ts';
import { formAnswerBytesMax, formConnectionsMax, formTimeoutMs } from './limits.ts';

export interface FormAnswer {
  status: number;
  contentType: string;
  /** Seconds or a date, as RFC 9110 section 10.2.3 has it; null where it is not there. */
  retryAfter: string | null;
  body: Buffer;
}

export interface FormPost {
  /**
   * @throws AppError `egress_blocked`; `upstream_unreachable`, `upstream_timeout`, or `upstream_protocol_error` for an answer over the
   * bound; `egress_unavailable`; the signal's reason.
   */
  post(url: URL, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<FormAnswer>;
  close(): Promise<void>;
}

export interface FormPostPorts extends HttpsRoute {
  userAgent: string;
  /** `formTimeoutMs` unless set. */
  timeoutMs?: number;
  /** Of the connections that are kept; `connectionsAgeMsMax` unless set. */
  ageMsMax?: number;
}

export function createFormPost(ports: FormPostPorts): FormPost {
  const { resolve, proxy, userAgent, timeoutMs = formTimeoutMs, ageMsMax } = ports;
  const connect = createCheckedConnector({ resolve, proxy, timeoutMs });
  const agent = createAgingAgent({ connections: formConnectionsMax, pipelining: 1, connect }, ageMsMax);
  return {
    async post(url, headers, body, signal) {
      signal.throwIfAborted();
      const timeout = AbortSignal.timeout(timeoutMs);
      const either = AbortSignal.any([signal, timeout]);
      try {
        const answer = request(url, {
          method: 'POST',
          dispatcher: agent.current(),
          headers: { ...headers, 'user-agent': userAgent },
          body,
          signal: either,
        });
        const { statusCode, headers: said, body: stream } = await untilAborted(answer, either);
        return {
          status: statusCode,
          contentType: headerOf(said['content-type']) ?? '',
          retryAfter: headerOf(said['retry-after']),
          body: await readBounded(stream),
        };
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        throw error instanceof AppError ? error : explain(url, toError(error), timeout.aborted, timeoutMs);
      }
    },
    close: () => agent.close(),
  };
}

function headerOf(value: string | string[] | undefined): string | null {
  return (Array.isArray(value) ? value[0] : value) ?? null;
}

async function readBounded(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > formAnswerBytesMax) {
      throw new AppError('upstream_protocol_error', `The answer is longer than ${formAnswerBytesMax} bytes.`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function explain({ host }: URL, error: Error, isTimeUp: boolean, timeoutMs: number): AppError {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  if (isTimeUp || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return new AppError('upstream_timeout', `${host} did not answer within ${timeoutMs / 1000} s.`);
  }
  return new AppError('upstream_unreachable', `${host} gave no answer: ${code.slice(0, 100)}.`);
}
