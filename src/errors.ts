/**
 * The one error type that may cross a module's border, and the closed list of its codes.
 *
 * A code is stable: people script against it. What a code means for an HTTP caller is decided in
 * `http/problem.ts`, and what a job does about it (when to try again, when to give up) in `fetch/outcome.ts`: nowhere else.
 * This file imports nothing.
 */

/** Codes that a fetch, or one message of it, can end with; and whether the same request may succeed later, unchanged. */
const IS_RETRYABLE = {
  upstream_auth_failed: false,
  upstream_locked: true,
  upstream_unavailable: true,
  upstream_unreachable: true,
  upstream_timeout: true,
  upstream_tls_failed: false,
  upstream_not_pop3: false,
  upstream_protocol_error: false,
  upstream_command_failed: false,
  upstream_closed: true,
  egress_blocked: false,
  message_too_large: false,
  cancelled: false,
  lease_lost: true,
  storage_failed: true,
  quota_exceeded: true,
  credentials_unavailable: false,
  oauth2_consent_gone: false,
  oauth2_refused: false,
  oauth2_token_expired: false,
  oauth2_unavailable: true,
  internal_error: false,
} as const;

export type FailureCode = keyof typeof IS_RETRYABLE;

export const FAILURE_CODES = Object.keys(IS_RETRYABLE) as readonly FailureCode[];

export function isFailureCode(code: string): code is FailureCode {
  return Object.hasOwn(IS_RETRYABLE, code);
}

export function isRetryable(code: FailureCode): boolean {
  return IS_RETRYABLE[code];
}

/** Codes that an API call can be answered with, beside `egress_blocked` and `internal_error`. */
export const REQUEST_CODES = [
  'invalid_request',
  'invalid_json',
  'unsupported_media_type',
  'body_too_large',
  'range_not_satisfiable',
  'unauthorized',
  'link_expired',
  'not_found',
  'method_not_allowed',
  'conflict',
  'storage_unavailable',
  'egress_unavailable',
  'busy',
  'events_missed',
] as const;

export type ErrorCode = FailureCode | (typeof REQUEST_CODES)[number] | 'invalid_config';

export interface AppErrorOptions {
  cause?: unknown;
  /** Structured facts for the caller of the API and the log, for instance the violations of the contract. Never a secret. */
  fields?: Readonly<Record<string, unknown>>;
}

/** `message` is public: it says what happened, where, and what to do. It never holds a secret or unbounded upstream text. */
export class AppError<Code extends ErrorCode = ErrorCode> extends Error {
  override readonly name: string = 'AppError';
  readonly code: Code;
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(code: Code, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fields = options.fields ?? {};
  }
}

/** Whatever was thrown, as an Error. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
