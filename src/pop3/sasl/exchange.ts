/** How POP3 carries a SASL exchange (RFC 5034 §4): the AUTH command, base64 both ways, `+` for "go on", `*` for "stop". */
import { parseStatusLine, quoteServerText, type StatusLine } from '../replies.ts';
import { brokenExchange, refusedLogin } from './errors.ts';
import { authLineBytesMax, challengeLineBytesMax, responseLineBytesMax } from './limits.ts';
import type { Mechanism } from './mechanism.ts';

const CANCEL = '*';

export interface ExchangeOptions {
  /** `host:port`, for messages. */
  place: string;
  /** Taken out of server text that an error quotes. */
  secrets: readonly string[];
  /**
   * The initial response may stand in the AUTH command. To be true only where CAPA lists SASL (older servers, by RFC 1734,
   * know no initial response), and false for a server that is known to refuse it.
   */
  inline: boolean;
  /**
   * Sends a line, to which CRLF is added, and gives the line that answers it, without its line end.
   * @param secret the part of the line, maybe all, maybe empty, that no log and no error may show: servers echo what they
   * do not understand.
   */
  send(line: string, secret: string): Promise<Buffer>;
}

export interface ExchangeOutcome {
  /** Of -ERR, if it is not `ok`: the mechanism's `failure` may tell more. */
  reply: StatusLine;
  /** The server was sent more than the name of the mechanism. */
  credentialsSent: boolean;
}

/**
 * Runs one exchange to its +OK or -ERR. That it ends is the mechanisms' promise: each answers a known number of challenges.
 * @throws Pop3ProtocolError where the server breaks it, after a `*`: the connection must be dropped. Or what `send` threw.
 */
export async function runExchange(mechanism: Mechanism, options: ExchangeOptions): Promise<ExchangeOutcome> {
  const { place, inline, send } = options;
  const secrets = [...options.secrets];
  const say = async (line: string, secret: string): Promise<Buffer> => {
    secrets.push(secret);
    return send(line, secret);
  };
  const initial = mechanism.start();
  const command = encodeAuthCommand(mechanism.name, initial, inline);
  /** The initial response where it is still to be sent. */
  let { rest } = command;
  let credentialsSent = initial !== null && rest === null;
  let mayRepeat = credentialsSent;

  let answer = await say(command.line, command.secret);
  for (;;) {
    if (answer.length > challengeLineBytesMax) {
      cancel(send);
      throw brokenExchange(place, `sent a line of more than ${challengeLineBytesMax} octets within ${mechanism.name}`);
    }
    const challenge = parseChallenge(answer, rest !== null || !mechanism.complete);
    if (!challenge) break;
    let line: string;
    if (rest !== null) {
      line = rest;
      rest = null;
    } else if (mayRepeat && initial && parseChallenge(answer, false)?.length === 0) {
      // A server that overlooks what stands behind the mechanism's name asks for it: no refusal has gone before.
      line = encodeResponse(initial);
    } else {
      try {
        line = encodeResponse(await mechanism.respond(challenge));
      } catch (error) {
        cancel(send);
        throw error;
      }
    }
    mayRepeat = false;
    credentialsSent = true;
    answer = await say(line, line);
  }

  const reply = parseStatusLine(answer);
  if (!reply) {
    const quoted = quoteServerText(answer.toString('utf8'), secrets);
    throw brokenExchange(place, `answered ${mechanism.name} with neither +, +OK nor -ERR: ${quoted}`);
  }
  if (reply.ok) mechanism.finish();
  return { reply, credentialsSent };
}

/** Nobody waits for the answer: the connection is about to be dropped. */
function cancel(send: ExchangeOptions['send']): void {
  send(CANCEL, '').catch(() => {});
}

/**
 * The AUTH command, without CRLF, the part of it that is secret, and the initial response, encoded, where it has to follow.
 * @param initial null where the server speaks first.
 * @param inline whether the server takes an initial response at all; a long one follows the command anyway.
 * @throws Pop3CommandError for credentials too long to be sent.
 */
export function encodeAuthCommand(
  name: string,
  initial: Buffer | null,
  inline: boolean,
): { line: string; secret: string; rest: string | null } {
  const bare = `AUTH ${name}`;
  if (initial === null) return { line: bare, secret: '', rest: null };
  const rest = encodeResponse(initial);
  // An empty response would look like none (RFC 5034 §4).
  const line = `${bare} ${rest === '' ? '=' : rest}`;
  return inline && line.length + 2 <= authLineBytesMax
    ? { line, secret: rest, rest: null }
    : { line: bare, secret: '', rest };
}

/** @throws Pop3CommandError for credentials too long to be sent. */
export function encodeResponse(response: Buffer): string {
  const line = response.toString('base64');
  if (line.length <= responseLineBytesMax) return line;
  throw refusedLogin(`The credentials are too long: a response in base64 has at most ${responseLineBytesMax} octets.`);
}

/**
 * The challenge in an answer; null where it is none, but the exchange's end. Text that is no base64 counts as empty: some
 * servers write a word of encouragement there, and a mechanism that needs a challenge refuses an empty one.
 * @param isDue no success is possible yet, so that a +OK is meant as a `+`.
 */
export function parseChallenge(line: Buffer, isDue: boolean): Buffer | null {
  const text = line.toString('latin1');
  const match = /^\+(?:[ \t]+(.*))?$/s.exec(text) ?? (isDue ? /^\+OK(?:[ \t]+(.*))?$/is.exec(text) : null);
  if (!match) return null;
  const encoded = (match[1] ?? '').trim();
  const isBase64 = encoded.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(encoded);
  return Buffer.from(isBase64 ? encoded : '', 'base64');
}
