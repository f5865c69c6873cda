/**
 * One POP3 session, from greeting to UPDATE (RFC 1939 section 3): a command line in, the answer out.
 *
 * It knows states and credentials, not sockets. `close` must be called however the session ends: it gives the maildrop
 * back. A session that ends without QUIT deletes nothing.
 */

import type { Maildrop } from './maildrop.ts';
import { multiline, Transaction } from './transaction.ts';
import type { Answer } from './transaction.ts';

/** RFC 2449; AUTH-RESP-CODE is RFC 3206, which `[AUTH]` below belongs to. */
const CAPABILITIES = [
  'TOP',
  'UIDL',
  'USER',
  'RESP-CODES',
  'AUTH-RESP-CODE',
  'PIPELINING',
  'IMPLEMENTATION popbridge-sandbox',
];

export interface Account {
  readonly user: string;
  readonly password: string;
}

export interface SessionAnswer {
  readonly bytes: Answer;
  /** Hang up after this one. */
  readonly last?: boolean;
}

export class Pop3Session {
  readonly #account: Account;
  readonly #maildrop: Maildrop;
  readonly #authFailuresMax: number;
  #authFailures = 0;
  #user: string | undefined;
  #transaction: Transaction | undefined;

  constructor(account: Account, maildrop: Maildrop, authFailuresMax: number) {
    this.#account = account;
    this.#maildrop = maildrop;
    this.#authFailuresMax = authFailuresMax;
  }

  greet(): string {
    return '+OK popbridge sandbox ready\r\n';
  }

  /** `line` without its line end. */
  answer(line: string): SessionAnswer {
    const [word = '', ...args] = line.split(' ');
    const keyword = word.toUpperCase();
    if (keyword === 'QUIT') return { bytes: this.#quit(), last: true };
    if (keyword === 'CAPA') return { bytes: multiline('capabilities follow', capabilityLines()) };
    if (this.#transaction === undefined) return this.#authorize(keyword, line.slice(word.length + 1));
    return { bytes: this.#transaction.answer(keyword, args) ?? '-ERR no such command here\r\n' };
  }

  close(): void {
    if (this.#transaction === undefined) return;
    this.#transaction = undefined;
    this.#maildrop.unlock();
  }

  /** `argument` is the whole rest of the line: a password may hold spaces (RFC 1939 section 7, PASS). */
  #authorize(keyword: string, argument: string): SessionAnswer {
    switch (keyword) {
      case 'USER':
        this.#user = argument;
        // Whether the user exists is not told before the password is right.
        return { bytes: '+OK now the password\r\n' };
      case 'PASS':
        return this.#logIn(argument);
      default:
        return { bytes: '-ERR log in first\r\n' };
    }
  }

  #logIn(password: string): SessionAnswer {
    const user = this.#user;
    this.#user = undefined;
    if (user === undefined) return { bytes: '-ERR USER comes before PASS\r\n' };
    if (user !== this.#account.user || password !== this.#account.password) {
      this.#authFailures += 1;
      const last = this.#authFailures >= this.#authFailuresMax;
      return { bytes: '-ERR [AUTH] wrong user name or password\r\n', last };
    }
    const mails = this.#maildrop.lock();
    if (mails === undefined) return { bytes: '-ERR [IN-USE] another session has the maildrop\r\n' };
    this.#transaction = new Transaction(mails);
    return { bytes: `+OK maildrop has ${mails.length} messages\r\n` };
  }

  /** The UPDATE state: only here do marked mails go. */
  #quit(): string {
    this.#maildrop.remove(this.#transaction?.marked ?? []);
    this.close();
    return '+OK bye\r\n';
  }
}

function capabilityLines(): Buffer {
  return Buffer.from(CAPABILITIES.map((capability) => `${capability}\r\n`).join(''));
}
