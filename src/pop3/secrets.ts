/** What no error and no log may show, in every form in which a server may say it back. */
import { proofCharsMin } from './limits.ts';

export class Secrets {
  readonly #known: string[];
  /** Parts of a login that are no secret, as the user name. */
  readonly #open: readonly string[];
  /** Made when they are needed first: most sessions quote nothing. */
  #forms: readonly string[] | null = null;

  constructor(known: readonly string[], open: readonly string[]) {
    this.#known = [...known];
    this.#open = open;
  }

  /** A password, a token, a digest, or a response in base64. Empty: nothing. */
  add(secret: string): void {
    if (secret === '') return;
    this.#known.push(secret);
    this.#forms = null;
  }

  /** The longest first, so that none is left in part by another. */
  get forms(): readonly string[] {
    this.#forms ??= [...new Set(this.#known.flatMap((secret) => this.#formsOf(secret)))].toSorted(
      (a, b) => b.length - a.length,
    );
    return this.#forms;
  }

  #formsOf(secret: string): string[] {
    const encoded = Buffer.from(secret).toString('base64').replace(/=+$/, '');
    // RFC 4616, 5802, 7628 and CRAM-MD5 part what a response holds by these.
    const parts = Buffer.from(secret, 'base64')
      .toString('latin1')
      .split(/[\0\x01 ,]/);
    const proofs = parts.filter((part) => part.length >= proofCharsMin && !this.#open.includes(part));
    return [secret, encoded, ...proofs].filter((form) => form !== '');
  }
}
