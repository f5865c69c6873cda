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
