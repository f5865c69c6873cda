/**
 * The POP3 client: one session with one maildrop (RFC 1939), from the connection to QUIT.
 *
 * It owns the order of commands and what their answers mean. It does not decide what to fetch or delete, keeps nothing
 * between sessions, never retries, and knows of the egress policy only the resolver that it is given.
 */
import { MessageBody, LineBody } from './body.ts';
import { Connection, encodeCommand, type Command } from './connection.ts';
import { Pop3CommandError, Pop3ConnectionError, Pop3ProtocolError, type Pop3Phase } from './errors.ts';
import { capabilitiesMax, defaultTimeouts, maildropMessagesMax, type Pop3Timeouts } from './limits.ts';
import {
  parseCapabilities,
  parseListLine,
  parseStat,
  parseUidlLine,
  quoteServerText,
  readRefusal,
  type Capabilities,
  type StatusLine,
} from './replies.ts';
import {
  describe,
  openTcp,
  startTls,
  type AddressResolver,
  type Endpoint,
  type TransportOptions,
} from './transport.ts';

/** RFC 8314 §3: `implicit` from the first byte, `starttls` by STLS and never without, `none` in the clear. */
export type TlsMode = 'implicit' | 'starttls' | 'none';

export interface Pop3Settings extends Endpoint {
  tls: TlsMode;
  username: string;
  password: string;
}

export interface Pop3Options {
  /** Ends any wait at once, with the signal's reason as the error. */
  signal?: AbortSignal;
  /** Where the egress policy enters: gives the addresses that may be connected to. The system's resolver unless given. */
  resolve?: AddressResolver;
  timeouts?: Partial<Pop3Timeouts>;
}

export class Pop3Client {
  readonly #connection: Connection;
  readonly #settings: Pop3Settings;
  readonly #timeouts: Readonly<Pop3Timeouts>;
  #capabilities: Capabilities | undefined;

  private constructor(connection: Connection, settings: Pop3Settings, timeouts: Readonly<Pop3Timeouts>) {
    this.#connection = connection;
    this.#settings = settings;
    this.#timeouts = timeouts;
  }

  /**
   * Connects, secures the connection as the settings say, and reads the greeting.
   * @throws Pop3ConnectionError, Pop3ProtocolError, Pop3CommandError (a greeting of -ERR), or the resolver's error.
   */
  static async connect(settings: Pop3Settings, options: Pop3Options = {}): Promise<Pop3Client> {
    const timeouts = { ...defaultTimeouts, ...options.timeouts };
    const signal = options.signal ?? new AbortController().signal;
    const transport: TransportOptions = { timeouts, signal, ...(options.resolve && { resolve: options.resolve }) };
    const tcp = await openTcp(settings, transport);
    const socket = settings.tls === 'implicit' ? await startTls(tcp, settings, transport) : tcp;
    const connection = new Connection(socket, {
      place: describe(settings),
      timeouts,
      signal,
      secrets: [settings.password],
    });
    const client = new Pop3Client(connection, settings, timeouts);
    try {
      const greeting = await connection.send({ phase: 'greeting', line: null, timeoutMs: timeouts.greetingMs });
      if (!greeting.ok) throw client.#refused('greeting', greeting);
      if (settings.tls === 'starttls') await client.#secure(transport);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** CAPA (RFC 2449 §5); empty where the server does not know the command. */
  async capabilities(): Promise<Capabilities> {
    const lines: string[] = [];
    await this.#multiLine('capabilities', 'CAPA', capabilitiesMax, (line) => lines.push(line));
    this.#capabilities = parseCapabilities(lines);
    return this.#capabilities;
  }

  /**
   * USER and PASS, each in a write of its own.
   * @throws Pop3CommandError with `upstream_auth_failed`, `upstream_locked`, `upstream_unavailable` or `upstream_command_failed`.
   */
  async login(): Promise<void> {
    this.#refuseWhereTlsIsDue();
    const lines = [`USER ${this.#settings.username}`, `PASS ${this.#settings.password}`];
    for (const line of lines) encodeCommand(line, 'login'); // What cannot be sent is refused before the first of them is.
    for (const line of lines) {
      const reply = await this.#send({ phase: 'login', line });
      if (!reply.ok) throw this.#refused('login', reply);
    }
  }

  async stat(): Promise<{ count: number; bytes: number }> {
    const reply = await this.#send({ phase: 'list', line: 'STAT' });
    if (!reply.ok) throw this.#commandFailed('list', 'STAT', reply);
    const stat = parseStat(reply.text);
    if (!stat) throw this.#broken('list', `STAT was answered with ${this.#quote(reply)}`);
    return stat;
  }

  /** Message number to octets, as the server states them: they may lie. Null where they are no number. */
  async list(): Promise<Map<number, number | null>> {
    const sizes = new Map<number, number | null>();
    const reply = await this.#multiLine('list', 'LIST', maildropMessagesMax, (line) => {
      const entry = parseListLine(line);
      if (entry) sizes.set(entry.number, entry.bytes);
    });
    if (!reply.ok) throw this.#commandFailed('list', 'LIST', reply);
    return sizes;
  }

  /** Message number to unique-id, null where it is blank; null in all where the server does not know UIDL. */
  async uidl(): Promise<Map<number, string | null> | null> {
    const uidls = new Map<number, string | null>();
    const reply = await this.#multiLine('list', 'UIDL', maildropMessagesMax, (line) => {
      const entry = parseUidlLine(line);
      if (entry) uidls.set(entry.number, entry.uidl);
    });
    return reply.ok ? uidls : null;
  }

  /**
   * RETR. The body must be read to its end, or left early, which ends the session.
   * @throws Pop3CommandError with `upstream_command_failed` when the server refuses; the session goes on.
   */
  async retrieve(number: number): Promise<AsyncIterable<Buffer>> {
    const connection = this.#connection;
    const body = new MessageBody({
      pause: () => connection.pause(),
      resume: () => connection.resume(),
      abandon: () => connection.close(),
    });
    const reply = await this.#send({ phase: 'retrieve', line: `RETR ${number}`, body });
    if (!reply.ok) throw this.#commandFailed('retrieve', `RETR ${number}`, reply);
    return body;
  }

  /** DELE: takes effect at QUIT. @throws Pop3CommandError with `upstream_command_failed`. */
  async delete(number: number): Promise<void> {
    const reply = await this.#send({ phase: 'delete', line: `DELE ${number}` });
    if (!reply.ok) throw this.#commandFailed('delete', `DELE ${number}`, reply);
  }

  /**
   * QUIT (RFC 1939 §6). True when the server confirmed it, and with it every DELE; false when it said -ERR, which means
   * that some were not removed. Closes the connection in any case.
   */
  async quit(): Promise<boolean> {
    try {
      const reply = await this.#connection.send({ phase: 'quit', line: 'QUIT', timeoutMs: this.#timeouts.quitMs });
      return reply.ok;
    } finally {
      this.close();
    }
  }

  /** Drops the connection without QUIT: nothing is deleted. Safe at any time, and twice. */
  close(): void {
    this.#connection.close();
  }

  async #secure(transport: TransportOptions): Promise<void> {
    const reply = await this.#send({ phase: 'tls', line: 'STLS' });
    if (!reply.ok) {
      throw new Pop3ConnectionError(
        'upstream_tls_failed',
        'tls',
        `${describe(this.#settings)} refuses STLS: ${this.#quote(reply)}. Nothing was sent in the clear. Set tls to "implicit" (mostly port 995).`,
      );
    }
    this.#connection.adopt(await startTls(this.#connection.release(), this.#settings, transport));
  }

  /** A server that offers STLS and no USER would refuse the password after it had crossed the network in the clear. */
  #refuseWhereTlsIsDue(): void {
    const offered = this.#capabilities?.entries;
    if (this.#settings.tls !== 'none' || !offered?.has('STLS') || offered.has('USER')) return;
    throw new Pop3ConnectionError(
      'upstream_tls_failed',
      'login',
      `${describe(this.#settings)} takes a password only under TLS. Set tls to "starttls". The password was not sent.`,
    );
  }

  #send(command: Omit<Command, 'timeoutMs'>): Promise<StatusLine> {
    return this.#connection.send({ ...command, timeoutMs: this.#timeouts.commandMs });
  }

  async #multiLine(
    phase: Pop3Phase,
    line: string,
    linesMax: number,
    onLine: (line: string) => void,
  ): Promise<StatusLine> {
    const violation = (what: string): Error => this.#connection.violation(what);
    const body = new LineBody({ linesMax, onLine, violation });
    const reply = await this.#send({ phase, line, body });
    if (reply.ok) await body.done;
    return reply;
  }

  #refused(phase: 'greeting' | 'login', reply: StatusLine): Pop3CommandError {
    const place = describe(this.#settings);
    const said = this.#quote(reply);
    switch (readRefusal(reply)) {
      case 'locked':
        return new Pop3CommandError(
          'upstream_locked',
          phase,
          `${place} does not open the maildrop now (another session has it, or the last one was just now): ${said}.`,
        );
      case 'unavailable':
        return new Pop3CommandError('upstream_unavailable', phase, `${place} has a passing trouble: ${said}.`);
      case 'permanent':
        return new Pop3CommandError(
          'upstream_command_failed',
          phase,
          `${place} has a lasting trouble with this mailbox, which its provider must mend: ${said}.`,
        );
      case 'credentials':
        return phase === 'greeting'
          ? new Pop3CommandError('upstream_unavailable', phase, `${place} accepts no session: ${said}.`)
          : new Pop3CommandError(
              'upstream_auth_failed',
              phase,
              `${place} refused the user name or the password: ${said}. Many providers want an app password, or POP3 switched on in the account's settings.`,
            );
    }
  }

  #commandFailed(phase: Pop3Phase, command: string, reply: StatusLine): Pop3CommandError {
    const temporary = reply.responseCode === 'SYS/TEMP';
    return new Pop3CommandError(
      temporary ? 'upstream_unavailable' : 'upstream_command_failed',
      phase,
      `${describe(this.#settings)} answered ${command} with ${this.#quote(reply)}.`,
    );
  }

  #broken(phase: Pop3Phase, what: string): Pop3ProtocolError {
    this.close();
    return new Pop3ProtocolError('upstream_protocol_error', phase, `${describe(this.#settings)}: ${what}.`);
  }

  #quote(reply: StatusLine): string {
    return quoteServerText(reply.line, [this.#settings.password]);
  }
}
