import { AppError, type AppErrorOptions, type FailureCode } from '../errors.ts';

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

/** What the three kinds have in common: a stable code and the phase. The message quotes the server only escaped and cut. */
export abstract class Pop3Error extends AppError<FailureCode> {
  readonly phase: Pop3Phase;

  constructor(code: FailureCode, phase: Pop3Phase, message: string, options?: AppErrorOptions) {
    super(code, message, options);
    this.phase = phase;
  }
}

/** The server said -ERR. The connection is usable, unless it happened before the login was through. */
export class Pop3CommandError extends Pop3Error {
  override readonly name = 'Pop3CommandError';
}

/** The server broke the protocol, or speaks another one. The connection is closed. */
export class Pop3ProtocolError extends Pop3Error {
  override readonly name = 'Pop3ProtocolError';
}

/** Name resolution, network, TLS or a deadline failed. There is no connection any more. */
export class Pop3ConnectionError extends Pop3Error {
  override readonly name = 'Pop3ConnectionError';
}
