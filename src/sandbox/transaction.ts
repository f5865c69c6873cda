/**
 * The TRANSACTION state of RFC 1939: a session's view of a locked maildrop, without a socket.
 *
 * It owns message numbers, deletion marks and the form of replies. It does not remove anything: what is marked is handed
 * to the caller, who alone knows whether the session reached the UPDATE state. The tests' lying server answers
 * through it too, wherever it is not told to lie.
 */

export interface Mail {
  /** RFC 1939 section 7: 1 to 70 characters from 0x21 to 0x7E. Two identical mails may share one. */
  readonly uidl: string;
  /** The mail as it is sent, before dots are stuffed. */
  readonly raw: Buffer;
}

export type Answer = string | Buffer;

const CRLF = Buffer.from('\r\n');

export class Transaction {
  readonly #mails: readonly Mail[];
  /** Indexes of the mails marked by DELE. */
  readonly #marked = new Set<number>();

  constructor(mails: readonly Mail[]) {
    this.#mails = mails;
  }

  /** The mails that QUIT lets go. */
  get marked(): readonly Mail[] {
    return this.#mails.filter((_, index) => this.#marked.has(index));
  }

  /** `keyword` in upper case. The answer ends in CRLF; undefined for a command that this state does not know. */
  answer(keyword: string, args: readonly string[]): Answer | undefined {
    switch (keyword) {
      case 'NOOP':
        return '+OK\r\n';
      case 'STAT':
        return this.#stat();
      case 'LIST':
        return this.#list(args[0], (mail) => String(mail.raw.length));
      case 'UIDL':
        return this.#list(args[0], (mail) => mail.uidl);
      case 'RETR':
        return this.#withMail(args[0], (mail) => multiline(`${mail.raw.length} octets`, mail.raw));
      case 'TOP':
        return this.#top(args);
      case 'DELE':
        return this.#withMail(args[0], (_, index) => {
          this.#marked.add(index);
          return `+OK message ${index + 1} marked for deletion\r\n`;
        });
      case 'RSET':
        this.#marked.clear();
        return `+OK maildrop has ${this.#mails.length} messages\r\n`;
      default:
        return undefined;
    }
  }

  #unmarked(): (readonly [index: number, mail: Mail])[] {
    return [...this.#mails.entries()].filter(([index]) => !this.#marked.has(index));
  }

  #stat(): string {
    const mails = this.#unmarked();
    const octets = mails.reduce((sum, [, mail]) => sum + mail.raw.length, 0);
    return `+OK ${mails.length} ${octets}\r\n`;
  }

  #list(argument: string | undefined, fact: (mail: Mail) => string): Answer {
    if (argument !== undefined) {
      return this.#withMail(argument, (mail, index) => `+OK ${index + 1} ${fact(mail)}\r\n`);
    }
    const mails = this.#unmarked();
    const lines = mails.map(([index, mail]) => `${index + 1} ${fact(mail)}\r\n`);
    return multiline(`${mails.length} messages`, Buffer.from(lines.join('')));
  }

  #top(args: readonly string[]): Answer {
    const lines = args[1];
    if (lines === undefined || !/^\d{1,9}$/.test(lines))
      return '-ERR TOP takes a message number and a number of lines\r\n';
    return this.#withMail(args[0], (mail) => multiline('top of message follows', topOf(mail.raw, Number(lines))));
  }

  #withMail(argument: string | undefined, answer: (mail: Mail, index: number) => Answer): Answer {
    if (argument === undefined || !/^\d{1,9}$/.test(argument)) return '-ERR a message number is needed\r\n';
    const index = Number(argument) - 1;
    const mail = this.#mails[index];
    if (mail === undefined) return `-ERR no message ${argument}, the maildrop has ${this.#mails.length}\r\n`;
    if (this.#marked.has(index)) return `-ERR message ${argument} is marked for deletion\r\n`;
    return answer(mail, index);
  }
}

/** A multi-line reply, RFC 1939 section 3: status, the body with its dots stuffed, a line with a dot alone. */
export function multiline(status: string, body: Buffer): Buffer {
  const parts = [Buffer.from(`+OK ${status}\r\n`), stuffDots(body)];
  if (body.length > 0 && !body.subarray(-2).equals(CRLF)) parts.push(CRLF);
  parts.push(Buffer.from('.\r\n'));
  return Buffer.concat(parts);
}

/** latin1 maps every byte to one character and back, so this changes nothing but the dots. */
function stuffDots(body: Buffer): Buffer {
  return Buffer.from(body.toString('latin1').replace(/(^|\r\n)\./g, '$1..'), 'latin1');
}

/** RFC 1939 section 7: the header, the blank line, and the first `lines` lines of the body. */
function topOf(raw: Buffer, lines: number): Buffer {
  const blank = raw.indexOf('\r\n\r\n');
  if (blank === -1) return raw;
  let end = blank + 4;
  for (let line = 0; line < lines && end < raw.length; line += 1) {
    const next = raw.indexOf(CRLF, end);
    end = next === -1 ? raw.length : next + CRLF.length;
  }
  return raw.subarray(0, end);
}
