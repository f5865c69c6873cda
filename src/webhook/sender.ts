/**
 * One HTTP request to a webhook's URL: one budget for all of it, no redirects, a bounded answer, and only the addresses
 * that the egress policy gives at connect time.
 */
import { isIP } from 'node:net';
import { Agent, buildConnector, request } from 'undici';
import { AppError, toError } from '../errors.ts';
import { answerBytesMax, attemptTimeoutMs, connectionsPerHostMax, detailCharsMax } from './limits.ts';

export interface Answer {
  /** Null where no answer came. */
  status: number | null;
  /** What the endpoint said, or why there is no answer; bounded. */
  detail: string;
}

export interface Sender {
  /** Never throws for what the endpoint or the network does. */
  post(url: string, headers: Record<string, string>, body: Buffer): Promise<Answer>;
  close(): Promise<void>;
}

export interface SenderPorts {
  /** The addresses that may be connected to; throws AppError `egress_blocked`. Called for IP literals too. */
  resolve(host: string, port: number): Promise<readonly { address: string; family: 4 | 6 }[]>;
  userAgent: string;
}

export function createSender({ resolve, userAgent }: SenderPorts): Sender {
  const agent = new Agent({
    connections: connectionsPerHostMax,
    pipelining: 1,
    maxResponseSize: answerBytesMax,
    connect: createConnector(resolve),
  });
  return {
    async post(url, headers, body) {
      try {
        const response = await request(url, {
          method: 'POST',
          dispatcher: agent,
          headers: { 'content-type': 'application/json', 'user-agent': userAgent, ...headers },
          body,
          signal: AbortSignal.timeout(attemptTimeoutMs),
        });
        const text = await response.body.text().catch(() => '');
        return { status: response.statusCode, detail: quote(text) };
      } catch (error) {
        return { status: null, detail: explain(toError(error)) };
      }
    },
    close: () => agent.close(),
  };
}

/** Resolves and checks at connect time, then connects to the checked address: a name cannot be rebound in between. */
function createConnector(resolve: SenderPorts['resolve']): buildConnector.connector {
  const connect = buildConnector({ timeout: attemptTimeoutMs });
  return (options, callback) => {
    const host = options.hostname.replace(/^\[|\]$/g, '');
    const port = Number(options.port || (options.protocol === 'https:' ? 443 : 80));
    resolve(host, port).then(
      ([first]) => {
        if (!first) return callback(new AppError('upstream_unreachable', 'The host has no address.'), null);
        const servername = options.servername || (isIP(host) === 0 ? host : '');
        connect({ ...options, hostname: first.address, servername }, callback);
      },
      (error: unknown) => callback(toError(error), null),
    );
  };
}

function explain(error: Error): string {
  if (error instanceof AppError) return error.message.slice(0, detailCharsMax);
  const code = 'code' in error ? String(error.code) : '';
  if (error.name === 'TimeoutError' || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return `No answer within ${attemptTimeoutMs / 1000} s.`;
  }
  return `No answer: ${code || error.name}.`;
}

function quote(text: string): string {
  const cut = text.length > detailCharsMax ? `${text.slice(0, detailCharsMax)}...` : text;
  return cut.replace(/[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff]/g, ' ').trim();
}
