/** Why there is no access token. */
import { AppError, type FailureCode } from '../../errors.ts';

export type OAuth2FailureCode = Extract<FailureCode, `oauth2_${string}`>;

export class OAuth2Error extends AppError<OAuth2FailureCode> {
  override readonly name = 'OAuth2Error';
  readonly phase = 'token';
  /** Milliseconds that the token endpoint wants to be left alone; null where it does not say. */
  readonly retryAfterMs: number | null;

  constructor(code: OAuth2FailureCode, message: string, retryAfterMs: number | null = null) {
    super(code, message);
    this.retryAfterMs = retryAfterMs;
  }
}
