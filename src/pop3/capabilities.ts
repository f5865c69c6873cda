/** What a server says of itself in CAPA (RFC 2449 §6, RFC 2595 §4, RFC 3206 §6, RFC 6856 §2 and §3), typed. Reading only. */

export class Capabilities {
  /** Upper-case name to its arguments, as the server wrote them. Empty where the server does not know CAPA. */
  readonly entries: ReadonlyMap<string, readonly string[]>;

  constructor(entries: ReadonlyMap<string, readonly string[]>) {
    this.entries = entries;
  }

  has(name: string): boolean {
    return this.entries.has(name.toUpperCase());
  }

  /** Mechanisms in upper case, in the server's order. */
  get sasl(): readonly string[] {
    return (this.entries.get('SASL') ?? []).map((name) => name.toUpperCase());
  }

  /** Several commands may be under way at once. */
  get pipelining(): boolean {
    return this.has('PIPELINING');
  }

  /** Text in square brackets behind -ERR is a response code (RESP-CODES, or RFC 3206's AUTH-RESP-CODE, which implies it). */
  get responseCodes(): boolean {
    return this.has('RESP-CODES') || this.has('AUTH-RESP-CODE');
  }

  /** Least seconds from one login to the next. `isPerUser`: of this user only once it is logged in. Null: none is told. */
  get loginDelay(): { seconds: number; isPerUser: boolean } | null {
    const [seconds, scope] = this.#argumentsOf('LOGIN-DELAY');
    const number = readNumber(seconds);
    return number === null ? null : { seconds: number, isPerUser: scope?.toUpperCase() === 'USER' };
  }

  /**
   * How long the server keeps mail, in days: `NEVER` is Infinity, and 0 deletes what a session has retrieved when it ends
   * without an RSET. `isPerUser` as for `loginDelay`. Null: nothing is told.
   */
  get expire(): { days: number; isPerUser: boolean } | null {
    const [days, scope] = this.#argumentsOf('EXPIRE');
    const number = days?.toUpperCase() === 'NEVER' ? Number.POSITIVE_INFINITY : readNumber(days);
    return number === null ? null : { days: number, isPerUser: scope?.toUpperCase() === 'USER' };
  }

  /** The server's software, as it calls itself: text of the server's. */
  get implementation(): string | null {
    return this.entries.get('IMPLEMENTATION')?.join(' ') ?? null;
  }

  /** The UTF8 command is known; `user`: user names and passwords may be in UTF-8 after it. Null: it is not known. */
  get utf8(): { user: boolean } | null {
    const scopes = this.entries.get('UTF8');
    return scopes ? { user: scopes.some((scope) => scope.toUpperCase() === 'USER') } : null;
  }

  get lang(): boolean {
    return this.has('LANG');
  }

  #argumentsOf(name: string): readonly string[] {
    return this.entries.get(name) ?? [];
  }
}

export const noCapabilities = new Capabilities(new Map());

/** A name that has swallowed the blank before its argument: `EXPIRENEVER`, as mailutils writes it. */
const GLUED = /^(EXPIRE|LOGIN-DELAY)(NEVER|\d+)$/i;

export function parseCapabilities(lines: Iterable<string>): Capabilities {
  const entries = new Map<string, readonly string[]>();
  for (const line of lines) {
    const [first, ...rest] = line.trim().split(/\s+/);
    if (!first) continue;
    const [, name = first, argument] = GLUED.exec(first) ?? [];
    entries.set(name.toUpperCase(), argument === undefined ? rest : [argument, ...rest]);
  }
  return new Capabilities(entries);
}

function readNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null;
}
