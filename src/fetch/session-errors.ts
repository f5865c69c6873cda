/** Whose fault it is that a session breaks. */
import { AppError } from '../errors.ts';
import { Pop3ConnectionError, Pop3Error } from '../pop3/index.ts';

/** The session broke while this message was its business. Not so where the process stops, or the lease is lost. */
export function isMessagesFault(error: unknown): error is Pop3Error | AppError<'message_too_large'> {
  return error instanceof Pop3Error || (error instanceof AppError && error.code === 'message_too_large');
}

/** The server's last answer did not come. What that means is for the caller. */
export function ignoreUpstream(error: unknown): false {
  if (error instanceof Pop3ConnectionError || error instanceof Pop3Error) return false;
  throw error;
}
