/** OAUTHBEARER (RFC 7628) and XOAUTH2, its forerunner: an OAuth 2.0 access token. They differ in framing alone. */
import type { Pop3CommandError } from '../errors.ts';
import { quoteServerText } from '../replies.ts';
import { brokenExchange, refusedLogin } from './errors.ts';
import { gs2Header } from './gs2.ts';
import type { Mechanism, SaslContext, TokenCredentials } from './mechanism.ts';

/** Separates the parts of a message. */
const SEPARATOR = '\x01';

export function oauthBearer(credentials: TokenCredentials, context: SaslContext): Mechanism {
  const { host, port } = context;
  const parts = [gs2Header('n', credentials.username), `host=${host}`, `port=${port}`, bearer(credentials), '', ''];
  // RFC 7628 §3.2.3: an error is acknowledged by the separator alone.
  return oauth('OAUTHBEARER', { parts, acknowledgement: SEPARATOR }, credentials, context);
}

export function xoauth2(credentials: TokenCredentials, context: SaslContext): Mechanism {
  const parts = [`user=${credentials.username}`, bearer(credentials), '', ''];
  return oauth('XOAUTH2', { parts, acknowledgement: '' }, credentials, context);
}

function oauth(
  name: 'OAUTHBEARER' | 'XOAUTH2',
  { parts, acknowledgement }: { parts: readonly string[]; acknowledgement: string },
  { accessToken }: TokenCredentials,
  { place }: SaslContext,
): Mechanism {
  if (parts.some((part) => /[\0\x01]/.test(part)))
    throw refusedLogin('The user name or the host holds a control character.');
  const message = Buffer.from(parts.join(SEPARATOR), 'utf8');
  let failure: Pop3CommandError | null = null;
  return {
    name,
    start: () => message,
    /** The one challenge there is tells why the token is about to be refused. */
    respond(challenge) {
      if (failure) throw brokenExchange(place, `does not end ${name}`);
      failure = refusedToken(place, challenge, [
        message.toString('base64'),
        accessToken,
        Buffer.from(accessToken).toString('base64').replace(/=+$/, ''),
      ]);
      return Buffer.from(acknowledgement, 'utf8');
    },
    complete: true,
    finish() {
      if (failure) throw brokenExchange(place, 'refused the access token and then accepted it');
    },
    get failure() {
      return failure;
    },
  };
}

function bearer({ accessToken }: TokenCredentials): string {
  // RFC 6750 §2.1 allows less than this; what is refused here would break the message apart.
  if (!/^[\x21-\x7e]+$/.test(accessToken)) {
    throw refusedLogin('The access token is empty or holds other characters than printable ASCII.');
  }
  return `auth=Bearer ${accessToken}`;
}

/** RFC 7628 §3.2.2: `{"status":"invalid_token","schemes":"bearer","scope":"mail"}`. XOAUTH2's status is an HTTP one. */
function refusedToken(place: string, challenge: Buffer, secrets: readonly string[]): Pop3CommandError {
  const told = parseObject(challenge.toString('utf8'));
  const fields = Object.fromEntries(
    ['status', 'schemes', 'scope'].map((key) => {
      const value = told[key];
      const text = typeof value === 'string' || typeof value === 'number' ? String(value) : null;
      return [key, text === null ? null : quoteServerText(text, secrets).slice(1, -1)];
    }),
  );
  const details = Object.entries(fields)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key} "${value}"`);
  const why = details.length === 0 ? 'without a reason' : details.join(', ');
  return refusedLogin(
    `${place} refused the access token: ${why}. Get a new one, and see that it is for this user and allows POP3.`,
    fields,
  );
}

function parseObject(json: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(json)) as Record<string, unknown>;
  } catch {
    return {};
  }
}
