/** What a test may tell the fake POP3 server to do, see `fake-pop3.ts`. */

import { multiline } from '../../src/sandbox/transaction.ts';

/** What comes after the bytes of a reply: a FIN, a RST, nothing ever again, or a TLS handshake. */
export type Ending = 'close' | 'reset' | 'silence' | 'tls';

export interface Step {
  readonly bytes: string | Buffer;
  readonly after?: Ending;
}

/**
 * A string is a line and gets a CRLF unless it ends in one; a Buffer is sent as it is. The bare words `close`, `reset`
 * and `silence` send nothing and do that.
 */
export type Reply = string | Buffer | Step;

export interface FakeSession {
  /** 1 for the first connection to the server. */
  readonly connection: number;
  /** Whether the connection is under TLS by now. */
  readonly tls: boolean;
  readonly authenticated: boolean;
  /** Lets the session into the TRANSACTION state, for handlers of AUTH and APOP. */
  logIn(): void;
}

/** `args` is what follows the command word, whole. Undefined leaves the answer to the default. */
type Handler = (args: string, session: FakeSession) => Reply | undefined | Promise<Reply | undefined>;

/** By command (`RETR`), by whole line (`RETR 3`, which goes first), or `*` for any other. In upper case. */
export type Script = Readonly<Record<string, Handler>>;

/** The answer to a RETR or TOP that breaks off after so many bytes of the body as it is sent, dots stuffed. */
export function cutBody(body: Buffer, bodyBytes: number, after: Ending): Step {
  const whole = multiline('message follows', body);
  return { bytes: whole.subarray(0, whole.indexOf('\n') + 1 + bodyBytes), after };
}

/** Whether `line` is that command, or one of that command word. Case does not matter, nor does it to a server. */
export function isCommand(line: string, command: string): boolean {
  return `${line} `.toUpperCase().startsWith(`${command} `.toUpperCase());
}

export function toStep(reply: Reply): Step {
  if (reply === 'close' || reply === 'reset' || reply === 'silence') return { bytes: '', after: reply };
  return typeof reply === 'string' || Buffer.isBuffer(reply) ? { bytes: reply } : reply;
}

export function toBytes(bytes: string | Buffer): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes;
  return Buffer.from(bytes === '' || bytes.endsWith('\r\n') ? bytes : `${bytes}\r\n`);
}
