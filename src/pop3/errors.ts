/** The three kinds of error. Each has a stable code, the phase, and whether it is worth trying again. */
import { AppError, isRetryable, type AppErrorOptions, type FailureCode } from '../errors.ts';

/** Where in a session something happened. */
export type Pop3Phase =
  | 'resolve'
  | 'connect'
  | 'tls'
  | 'greeting'
  | 'capabilities'
  | 'login'
  | 'list'
  | 'retrieve'
  | 'delete'
  | 'quit';

/** Response codes that have a meaning: RFC 2449 §8.1, RFC 3206 §4 and §5, RFC 6856 §2.1. Others are the server's own. */
const RESPONSE_CODES = ['AUTH', 'IN-USE', 'LOGIN-DELAY', 'SYS/TEMP', 'SYS/PERM', 'UTF8'] as const;

export type ResponseCode = (typeof RESPONSE_CODES)[number];

export function isResponseCode(code: string): code is ResponseCode {
  return (RESPONSE_CODES as readonly string[]).includes(code);
}

/** What the three kinds have in common. The message quotes the server only escaped and cut, and never a secret. */
export abstract class Pop3Error extends AppError<FailureCode> {
  readonly phase: Pop3Phase;

  constructor(code: FailureCode, phase: Pop3Phase, message: string, options?: AppErrorOptions) {
    super(code, message, options);
    this.phase = phase;
  }

  /** The same settings and command may succeed later. */
  get isRetryable(): boolean {
    return isRetryable(this.code);
  }
}

export interface Pop3CommandErrorOptions extends AppErrorOptions {
  responseCode?: ResponseCode | null;
  retryAfterMs?: number | null;
}

/**
 * A command failed: the server said -ERR, or it was not sent, being malformed or not allowed in this state. The connection is
 * usable, unless it happened before the login was through.
 */
export class Pop3CommandError extends Pop3Error {
  override readonly name = 'Pop3CommandError';
  /** What the server named as the reason (RFC 2449 §8), where it is one of the registered codes. */
  readonly responseCode: ResponseCode | null;
  /** Milliseconds after which a login is allowed again: with LOGIN-DELAY, where CAPA told the delay. */
  readonly retryAfterMs: number | null;

  constructor(code: FailureCode, phase: Pop3Phase, message: string, options: Pop3CommandErrorOptions = {}) {
    super(code, phase, message, options);
    this.responseCode = options.responseCode ?? null;
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** The server broke the protocol, or speaks another one. The connection is closed. */
export class Pop3ProtocolError extends Pop3Error {
  override readonly name = 'Pop3ProtocolError';
}

/** Name resolution, network, TLS or a deadline failed. There is no connection any more. */
export class Pop3ConnectionError extends Pop3Error {
  override readonly name = 'Pop3ConnectionError';
}
