/** The one table that says what an error means for an HTTP caller: RFC 9457 problem details with a stable code. */
import type { components } from '../contract.gen.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import { retryAfterSeconds } from './limits.ts';

type Problem = components['schemas']['Problem'];

const PROBLEMS: Partial<Record<ErrorCode, { status: number; title: string; headers?: Record<string, string> }>> = {
  invalid_json: { status: 400, title: 'The body is not JSON' },
  invalid_request: { status: 400, title: 'The request is not valid' },
  unauthorized: unauthorized('No valid API key'),
  link_expired: unauthorized('The link has expired'),
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  conflict: { status: 409, title: 'Conflict' },
  events_missed: { status: 410, title: 'Events were missed' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  range_not_satisfiable: { status: 416, title: 'The range is not satisfiable' },
  egress_blocked: { status: 422, title: 'Blocked by the egress policy' },
  storage_unavailable: unavailable(),
  storage_failed: unavailable(),
  egress_unavailable: unavailable('The egress proxy is unavailable'),
  busy: unavailable('Too busy'),
  cancelled: unavailable('Stopping'),
};

/** Codes that a fetch ends with, and the ones that a call is answered with. */
const CALLED_ELSE: Readonly<Record<string, Problem['code']>> = {
  storage_failed: 'storage_unavailable',
  cancelled: 'busy',
};

/** Fields of an error that are headers of its response. */
interface NamedHeaders {
  allow?: string;
  contentRange?: string;
}

function unauthorized(title: string) {
  return { status: 401, title, headers: { 'www-authenticate': 'Bearer realm="popbridge"' } };
}

function unavailable(title = 'Storage is unavailable') {
  return {
    status: 503,
    title,
    headers: { 'retry-after': String(retryAfterSeconds) },
  };
}

/** @param isStorageAway true for what the Redis client throws when there is no Redis. */
export function toProblem(error: unknown, requestId: string, isStorageAway: (error: unknown) => boolean): Response {
  const known = error instanceof AppError ? PROBLEMS[error.code as ErrorCode] : undefined;
  if (error instanceof AppError && known) {
    const { errors, ...headers } = error.fields as { errors?: Problem['errors'] } & NamedHeaders;
    const code = CALLED_ELSE[error.code] ?? (error.code as Problem['code']);
    return respond(known, code, error.message, requestId, {
      ...(errors && { errors }),
      ...headers,
    });
  }
  if (isStorageAway(error)) {
    const detail = 'Redis cannot be reached. Nothing was accepted; try again.';
    return respond(unavailable(), 'storage_unavailable', detail, requestId);
  }
  const detail = 'A fault of popbridge itself. Its log says more, under the requestId.';
  const fault = { status: 500, title: 'Internal error' };
  return respond(fault, 'internal_error', detail, requestId);
}

function respond(
  { status, title, headers }: { status: number; title: string; headers?: Record<string, string> },
  code: Problem['code'],
  detail: string,
  requestId: string,
  { allow, contentRange, errors }: { errors?: Problem['errors'] } & NamedHeaders = {},
): Response {
  const problem: Problem = {
    type: `urn:popbridge:problem:${code}`,
    title,
    status,
    code,
    detail,
    requestId,
    ...(errors && { errors }),
  };
  return new Response(JSON.stringify(problem), {
    status,
    headers: {
      'content-type': 'application/problem+json',
      ...headers,
      ...(allow && { allow }),
      ...(contentRange && { 'content-range': contentRange }),
    },
  });
}
