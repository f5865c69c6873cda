/** What a -ERR means, as a typed error. */
import type { Capabilities } from './capabilities.ts';
import { isResponseCode, Pop3CommandError, type Pop3CommandErrorOptions, type Pop3Phase } from './errors.ts';
import { readRefusal, type StatusLine } from './replies.ts';
import type { Credentials } from './sasl/index.ts';

export interface RefusalFacts {
  /** `host:port`. */
  place: string;
  capabilities: Capabilities;
  /** Server text fit for an error. */
  quote(text: string): string;
}

const REFUSED: Readonly<Record<Credentials['kind'], { what: string; advice: string }>> = {
  password: {
    what: 'the user name or the password',
    advice:
      "Many providers want an app password, or POP3 switched on in the account's settings. Check both, and the user name.",
  },
  token: {
    what: 'the access token',
    advice: 'Get a new one, and see that it is for this user and allows POP3.',
  },
  external: {
    what: 'the client certificate',
    advice: 'See that it names this user, and that the server trusts who issued it.',
  },
};

/** Of a greeting, where `credentials` is null, or a login. */
export function sessionRefused(
  reply: StatusLine,
  credentials: Credentials['kind'] | null,
  { place, capabilities, quote }: RefusalFacts,
): Pop3CommandError {
  const phase = credentials === null ? 'greeting' : 'login';
  const said = quote(reply.line);
  const options = readOptions(reply, capabilities);
  switch (readRefusal(reply)) {
    case 'locked': {
      const { responseCode, retryAfterMs } = options;
      const when = retryAfterMs ? ` It wants ${retryAfterMs / 1000} s between two logins.` : '';
      const why = responseCode === 'LOGIN-DELAY' ? 'the last login was just now' : 'another session has it';
      const text = `${place} does not open the maildrop now (${why}): ${said}.${when}`;
      return new Pop3CommandError('upstream_locked', phase, text, options);
    }
    case 'unavailable':
      return new Pop3CommandError('upstream_unavailable', phase, `${place} has a passing trouble: ${said}.`, options);
    case 'permanent': {
      const text = `${place} has a lasting trouble with this mailbox, which its provider must mend: ${said}.`;
      return new Pop3CommandError('upstream_command_failed', phase, text, options);
    }
    case 'credentials': {
      if (credentials === null)
        return new Pop3CommandError('upstream_unavailable', phase, `${place} accepts no session: ${said}.`, options);
      const { what, advice } = REFUSED[credentials];
      const text = `${place} refused ${what}: ${said}. ${advice}`;
      return new Pop3CommandError('upstream_auth_failed', phase, text, options);
    }
  }
}

/** Of any other command. */
export function commandRefused(
  phase: Pop3Phase,
  command: string,
  reply: StatusLine,
  { place, capabilities, quote }: RefusalFacts,
): Pop3CommandError {
  const isPassing = reply.responseCode === 'SYS/TEMP';
  const hint =
    reply.responseCode === 'UTF8' ? ' The message has headers in UTF-8, which this session did not ask for.' : '';
  return new Pop3CommandError(
    isPassing ? 'upstream_unavailable' : 'upstream_command_failed',
    phase,
    `${place} answered ${command} with ${quote(reply.line)}.${hint}`,
    readOptions(reply, capabilities),
  );
}

function readOptions({ responseCode }: StatusLine, { loginDelay }: Capabilities): Pop3CommandErrorOptions {
  const known = responseCode !== null && isResponseCode(responseCode) ? responseCode : null;
  const retryAfterMs = known === 'LOGIN-DELAY' && loginDelay ? loginDelay.seconds * 1000 : null;
  return { responseCode: known, retryAfterMs };
}
