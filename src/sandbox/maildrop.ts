/** The one maildrop of a sandbox server: what it holds, and which session has it (RFC 1939 section 4). */

import { createHash } from 'node:crypto';
import type { Mail } from './transaction.ts';

/** A mail to put into the maildrop; without `uidl` it gets one derived from its content. */
export type MailInput = Buffer | { readonly raw: Buffer; readonly uidl?: string };

export class Maildrop {
  #mails: readonly Mail[];
  #locked = false;

  constructor(inputs: readonly MailInput[]) {
    this.#mails = inputs.map(toMail);
  }

  get messageCount(): number {
    return this.#mails.length;
  }

  /** The mails, now the caller's alone until `unlock`; undefined while another session has them. */
  lock(): readonly Mail[] | undefined {
    if (this.#locked) return undefined;
    this.#locked = true;
    return this.#mails;
  }

  unlock(): void {
    this.#locked = false;
  }

  remove(mails: readonly Mail[]): void {
    const gone = new Set(mails);
    this.#mails = this.#mails.filter((mail) => !gone.has(mail));
  }
}

function toMail(input: MailInput): Mail {
  const { raw, uidl } = Buffer.isBuffer(input) ? { raw: input, uidl: undefined } : input;
  const canonical = canonicalLineEnds(raw);
  return { raw: canonical, uidl: uidl ?? deriveUidl(canonical) };
}

/** From the content alone, so that it survives a restart; RFC 1939 section 7 allows a hash of the message. */
function deriveUidl(raw: Buffer): string {
  return createHash('sha256').update(raw).digest('hex').slice(0, 40);
}

/** Mail kept with bare LF is sent with CRLF, and its size is counted so (RFC 1939 section 11). */
function canonicalLineEnds(raw: Buffer): Buffer {
  const text = raw.toString('latin1').replace(/\r?\n/g, '\r\n');
  return Buffer.from(text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1');
}
