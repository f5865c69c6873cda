/** Finding secrets where none may be, in whatever form they got there; and what a client said on its sockets, in the clear. */

import { Socket } from 'node:net';
import { inspect } from 'node:util';
import { vi } from 'vitest';

/** Of these secrets, those that a text shows: as they are, escaped, in hex, or in base64, be it amid other octets. */
export function findSecrets(text: string, secrets: readonly string[]): string[] {
  const shown = text.toLowerCase();
  return secrets.filter((secret) => {
    const inHex = Buffer.from(secret).toString('hex');
    const escaped = [JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), inHex];
    if ([secret, ...escaped].some((form) => shown.includes(form.toLowerCase()))) return true;
    return base64Cores(secret).some((core) => text.includes(core));
  });
}

/** Everything that an error, or anything else, shows to who looks closely. */
export function showAll(value: unknown): string {
  const written = value instanceof Error ? `${String(value)}\n${value.stack}\n${JSON.stringify(value)}\n` : '';
  return written + inspect(value, { depth: null, showHidden: true, maxStringLength: null, maxArrayLength: null });
}

/** The characters that stand for these octets alone, wherever they begin in what is encoded; both alphabets. */
function base64Cores(secret: string): string[] {
  return [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(secret)]);
    const mixedBefore = before === 0 ? 0 : before + 1;
    const whole = Math.floor((bytes.length * 8) / 6);
    return (['base64', 'base64url'] as const).map((encoding) => bytes.toString(encoding).slice(mixedBefore, whole));
  });
}

/** The lines that this process writes to a port of this machine while the work is done, read before TLS encrypts them. */
export async function recordLines(port: number, work: () => Promise<void>): Promise<string[]> {
  let written = '';
  const { write } = Socket.prototype;
  const spy = vi.spyOn(Socket.prototype, 'write').mockImplementation(function (this: Socket, ...args: unknown[]) {
    if (this.remotePort === port && typeof args[0] === 'string') written += args[0];
    return Reflect.apply(write, this, args) as boolean;
  });
  try {
    await work();
  } finally {
    spy.mockRestore();
  }
  return written.split('\r\n').slice(0, -1);
}

/** Of the lines of a login, what proves or hands over the secret: each response, and the last word in it once it is decoded. */
export function responsesOf(lines: readonly string[]): string[] {
  const responses = lines.flatMap((line) => {
    const [word = '', ...args] = line.split(' ');
    if (word === 'AUTH') return args.slice(1);
    if (word === 'PASS') return [args.join(' ')];
    if (word === 'APOP') return args.slice(1);
    return args.length === 0 && !/^[A-Z]+\d?$/.test(word) ? [word] : [];
  });
  const decoded = responses.map(
    (response) =>
      Buffer.from(response, 'base64')
        .toString()
        .split(/[ ,\0\x01]/)
        .at(-1) ?? '',
  );
  // What is shorter may stand anywhere by chance.
  return [...responses, ...decoded].filter((response) => response.length >= 8);
}
