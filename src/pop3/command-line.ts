/** How a command is written (RFC 1939 §3). */
import { Pop3CommandError, type Pop3Phase } from './errors.ts';
import { commandBytesMax } from './limits.ts';

/**
 * The line with its CRLF. CR, LF and NUL would end it or smuggle another command: refused before a byte is sent.
 * @throws Pop3CommandError, which quotes nothing of the line.
 */
export function encodeCommand(line: string, phase: Pop3Phase, lineBytesMax = commandBytesMax): string {
  if (/[\r\n\0]/.test(line)) throw refused(phase, 'An argument holds a CR, LF or NUL');
  if (Buffer.byteLength(line) + 2 > lineBytesMax) throw refused(phase, `A line has more than ${lineBytesMax} octets`);
  return `${line}\r\n`;
}

function refused(phase: Pop3Phase, why: string): Pop3CommandError {
  const isLogin = phase === 'login';
  const what = isLogin ? 'The user name or the password cannot be sent' : 'The command was not sent';
  return new Pop3CommandError(isLogin ? 'upstream_auth_failed' : 'upstream_command_failed', phase, `${what}: ${why}.`);
}

/** RFC 1939 §3 numbers messages from 1 on. @throws Pop3CommandError, before anything is sent. */
export function requireNumber(number: number, phase: Pop3Phase, least = 1): number {
  if (Number.isSafeInteger(number) && number >= least) return number;
  const text = `${String(number)} is no ${least === 0 ? 'number of lines' : 'message number'}.`;
  throw new Pop3CommandError('upstream_command_failed', phase, text);
}

/** RFC 5646, or `*` for the server's choice (RFC 6856 §3.2). @throws Pop3CommandError, before anything is sent. */
export function requireLanguageTag(tag: string): string {
  if (/^(?:\*|[A-Za-z\d]{1,8}(?:-[A-Za-z\d]{1,8})*)$/.test(tag)) return tag;
  const text = `${JSON.stringify(tag.slice(0, 40))} is no language tag (RFC 5646).`;
  throw new Pop3CommandError('upstream_command_failed', 'capabilities', text);
}
