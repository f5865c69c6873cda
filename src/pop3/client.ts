/**
 * The POP3 client: one session with one maildrop (RFC 1939), from the connection to QUIT.
 *
 * It owns the order of commands and what their answers mean. It does not decide what to fetch or delete, keeps nothing
 * between sessions, retries nothing but a connection that CAPA broke, and knows of the egress policy only the resolver
 * that it is given.
 */
import type { MessageBody } from './body.ts';
import { noCapabilities, parseCapabilities, type Capabilities } from './capabilities.ts';
import { requireLanguageTag, requireNumber } from './command-line.ts';
import type { Connection } from './connection.ts';
import { Pop3CommandError, Pop3ConnectionError, type Pop3Phase } from './errors.ts';
import { Exchange } from './exchange.ts';
import { capabilitiesMax, defaultTimeouts, maildropMessagesMax, type Pop3Timeouts } from './limits.ts';
import { logIn, readCredentials } from './login.ts';
import { openSession, type OpenSession } from './open.ts';
import {
  parseLanguage,
  parseListLine,
  parseStat,
  parseUidlLine,
  type ListEntry,
  type Pop3Language,
  type StatusLine,
  type UidlEntry,
} from './replies.ts';
import { readApopChallenge, readChannelBinding, readOffer } from './sasl/index.ts';
import type { MessageToRetrieve, Pop3Options, Pop3Settings, Pop3State, RetrievedMessage } from './settings.ts';
import { describe, readTlsFacts, type TlsFacts } from './transport.ts';

export class Pop3Client {
  readonly #connection: Connection;
  readonly #session: OpenSession;
  readonly #settings: Pop3Settings;
  readonly #timeouts: Readonly<Pop3Timeouts>;
  readonly #place: string;
  readonly #exchange: Exchange;
  #isLoggedIn = false;

  private constructor(session: OpenSession, settings: Pop3Settings, options: Pop3Options, timeouts: Pop3Timeouts) {
    const { connection } = session;
    this.#session = session;
    this.#connection = connection;
    this.#settings = settings;
    this.#timeouts = timeouts;
    this.#place = describe(settings);
    this.#exchange = new Exchange(connection, { place: this.#place, timeouts, pipelining: options.pipelining });
  }

  /**
   * Connects, secures the connection as the settings say, reads the greeting and asks for capabilities. A server that hangs
   * up on CAPA is connected to once more and not asked.
   * @throws Pop3ConnectionError, Pop3ProtocolError, Pop3CommandError (a greeting of -ERR), the signal's reason, or the
   *   resolver's error.
   */
  static async connect(settings: Pop3Settings, options: Pop3Options = {}): Promise<Pop3Client> {
    const timeouts = { ...defaultTimeouts, ...options.timeouts };
    const client = new Pop3Client(await openSession(settings, options, timeouts), settings, options, timeouts);
    if (settings.skipCapa === true) return client;
    try {
      await client.capa();
      return client;
    } catch (error) {
      client.close();
      const isHungUp = error instanceof Pop3ConnectionError && error.code === 'upstream_closed';
      if (isHungUp) return Pop3Client.connect({ ...settings, skipCapa: true }, options);
      throw error;
    }
  }

  get state(): Pop3State {
    if (this.#connection.isClosed) return 'closed';
    return this.#isLoggedIn ? 'transaction' : 'authorization';
  }

  /** As of the last CAPA; none before the first, and where the server does not know the command. */
  get capabilities(): Capabilities {
    return this.#exchange.capabilities;
  }

  /** What was agreed on in the TLS handshake, and the certificate; null without TLS. */
  get tlsFacts(): TlsFacts | null {
    return this.#session.secured && readTlsFacts(this.#session.secured, this.#settings);
  }

  /** CAPA (RFC 2449 §5). Asked by `connect` and `login` already. A server that refuses it leaves what was known. */
  async capa(): Promise<Capabilities> {
    const lines: string[] = [];
    try {
      for await (const some of this.#exchange.lines('capabilities', 'CAPA', capabilitiesMax)) lines.push(...some);
      this.#exchange.capabilities = parseCapabilities(lines);
    } catch (error) {
      if (!(error instanceof Pop3CommandError)) throw error;
    }
    return this.#exchange.capabilities;
  }

  /**
   * Logs in: by the strongest way that CAPA lists, by USER and PASS where there is no CAPA, or by `settings.mechanism`. Asks
   * for UTF-8 before it where that is offered, and for capabilities again behind it.
   * @throws Pop3CommandError with `upstream_auth_failed`, `upstream_locked`, `upstream_unavailable` or
   * `upstream_command_failed`; Pop3ProtocolError where the server broke the exchange, which ends the session.
   */
  async login(): Promise<void> {
    this.#demand('authorization', 'login', 'The login');
    await this.#connection.within(this.#timeouts.loginMs, 'login', () => this.#logIn());
    this.#isLoggedIn = true;
    // Servers say more, and less, to who is known to them (RFC 2449 §5). Who did not know the command has not learnt it.
    if (this.#exchange.capabilities !== noCapabilities) await this.capa();
  }

  /** UTF8 (RFC 6856 §2): message headers in UTF-8 from here on. Before the login only. @throws Pop3CommandError */
  async utf8(): Promise<void> {
    this.#demand('authorization', 'capabilities', 'UTF8');
    await this.#exchange.ask('capabilities', 'UTF8');
  }

  /** LANG (RFC 6856 §3): the languages that the server has for its texts. @throws Pop3CommandError */
  async languages(): Promise<Pop3Language[]> {
    const languages: Pop3Language[] = [];
    for await (const lines of this.#exchange.lines('capabilities', 'LANG', capabilitiesMax))
      languages.push(...lines.map(parseLanguage).filter((language) => language !== null));
    return languages;
  }

  /** LANG with a tag of RFC 5646, or `*` for the server's choice. @throws Pop3CommandError */
  async useLanguage(tag: string): Promise<void> {
    await this.#exchange.ask('capabilities', `LANG ${requireLanguageTag(tag)}`);
  }

  async stat(): Promise<{ count: number; bytes: number }> {
    this.#demand('transaction', 'list', 'STAT');
    const reply = await this.#exchange.ask('list', 'STAT');
    const stat = parseStat(reply.text);
    if (!stat) throw this.#exchange.broken('list', 'STAT', reply);
    return stat;
  }

  /** LIST: message number to octets, as the server states them: they may lie. Null where they are no number. */
  async list(): Promise<Map<number, number | null>> {
    const sizes = new Map<number, number | null>();
    for await (const { number, bytes } of this.streamList()) sizes.set(number, bytes);
    return sizes;
  }

  /** LIST as it arrives: a maildrop of a million messages is never held whole. @throws Pop3CommandError */
  streamList(): AsyncGenerator<ListEntry, void> {
    return this.#entries('LIST', parseListLine);
  }

  /** LIST of one. @throws Pop3CommandError */
  async listOne(number: number): Promise<ListEntry> {
    return this.#single(number, 'LIST', parseListLine);
  }

  /**
   * LIST of each, pipelined where the server allows it. One that is refused is passed over.
   * @throws Pop3ConnectionError, Pop3ProtocolError
   */
  listEach(numbers: Iterable<number>): AsyncGenerator<ListEntry, void> {
    return this.#each(numbers, 'LIST', parseListLine);
  }

  /** UIDL: message number to unique-id, null where it is blank; null in all where the server does not know UIDL. */
  async uidl(): Promise<Map<number, string | null> | null> {
    const uidls = new Map<number, string | null>();
    try {
      for await (const { number, uidl } of this.streamUidl()) uidls.set(number, uidl);
      return uidls;
    } catch (error) {
      // A passing trouble is no answer: without unique-ids all mail would look new.
      if (error instanceof Pop3CommandError && error.code !== 'upstream_unavailable' && this.#isLoggedIn) return null;
      throw error;
    }
  }

  /** UIDL as it arrives. @throws Pop3CommandError where the server does not know it. */
  streamUidl(): AsyncGenerator<UidlEntry, void> {
    return this.#entries('UIDL', parseUidlLine);
  }

  /** UIDL of one. @throws Pop3CommandError */
  async uidlOne(number: number): Promise<UidlEntry> {
    return this.#single(number, 'UIDL', parseUidlLine);
  }

  /** UIDL of each, as `listEach`. */
  uidlEach(numbers: Iterable<number>): AsyncGenerator<UidlEntry, void> {
    return this.#each(numbers, 'UIDL', parseUidlLine);
  }

  /**
   * RETR. The body must be read to its end, or left early, which ends the session.
   * @throws Pop3CommandError when the server refuses; the session goes on.
   */
  async retrieve(number: number): Promise<AsyncIterable<Buffer>> {
    return this.#body(`RETR ${requireNumber(number, 'retrieve')}`);
  }

  /** TOP: the header and so many lines of the body, to be read as that of `retrieve`. @throws Pop3CommandError */
  async top(number: number, lines: number): Promise<AsyncIterable<Buffer>> {
    return this.#body(`TOP ${requireNumber(number, 'retrieve')} ${requireNumber(lines, 'retrieve', 0)}`);
  }

  /**
   * RETR of many, pipelined where the server allows it. Gives them in order; each body must be read before the next message
   * is asked for, or is passed over if it was not begun. `messages` is read as late as the window allows. Leaving early ends
   * the session.
   * @throws Pop3ConnectionError, Pop3ProtocolError. A message that the server refuses has an `error`, and the others come.
   */
  retrieveAll<Message extends MessageToRetrieve>(
    messages: Iterable<Message>,
  ): AsyncIterableIterator<RetrievedMessage<Message>, void> {
    return this.#bodies(
      messages,
      'RETR',
      ({ number }) => `RETR ${requireNumber(number, 'retrieve')}`,
      ({ bytes }) => bytes,
    );
  }

  /** TOP of many, as `retrieveAll`. */
  topAll<Message extends MessageToRetrieve>(
    messages: Iterable<Message>,
    lines: number,
  ): AsyncIterableIterator<RetrievedMessage<Message>, void> {
    return this.#bodies(
      messages,
      'TOP',
      ({ number }) => `TOP ${requireNumber(number, 'retrieve')} ${requireNumber(lines, 'retrieve', 0)}`,
      () => null,
    );
  }

  /** DELE: takes effect at QUIT. @throws Pop3CommandError */
  async delete(number: number): Promise<void> {
    this.#demand('transaction', 'delete', 'DELE');
    await this.#exchange.ask('delete', `DELE ${requireNumber(number, 'delete')}`);
  }

  /** DELE of many, pipelined where the server allows it. Resolves with those that it refused, by message number. */
  async deleteAll(numbers: Iterable<number>): Promise<Map<number, Pop3CommandError>> {
    this.#demand('transaction', 'delete', 'DELE');
    const refused = new Map<number, Pop3CommandError>();
    for await (const { number, line, reply } of this.#answers('delete', 'DELE', numbers)) {
      if (!reply.ok) refused.set(number, this.#exchange.refused('delete', line, reply));
    }
    return refused;
  }

  /** RSET: nothing is marked for deletion any more. @throws Pop3CommandError */
  async reset(): Promise<void> {
    this.#demand('transaction', 'delete', 'RSET');
    await this.#exchange.ask('delete', 'RSET');
  }

  /** NOOP: keeps the session alive; a server may end one that is silent for ten minutes (RFC 1939 §3). @throws Pop3CommandError */
  async noop(): Promise<void> {
    this.#demand('transaction', 'list', 'NOOP');
    await this.#exchange.ask('list', 'NOOP');
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

  async #logIn(): Promise<void> {
    this.#refuseWhereTlsIsDue();
    if (this.#exchange.capabilities.utf8 && this.#settings.utf8 !== false) {
      await this.#exchange.send('login', 'UTF8'); // A refusal changes nothing: what needs UTF-8 is refused by itself later.
    }
    const { host, port, mechanism: way, tls, twoStep = false } = this.#settings;
    const { secured, greeting } = this.#session;
    const credentials = readCredentials(this.#settings);
    await logIn({
      place: this.#place,
      host,
      port,
      credentials,
      ...(way && { way }),
      twoStep,
      offered: readOffer(this.#exchange.capabilities),
      tls: tls !== 'none',
      binding: secured && readChannelBinding(secured),
      apopChallenge: readApopChallenge(greeting),
      connection: this.#connection,
      send: (line, secret) => this.#connection.ask(line, secret, this.#timeouts.commandMs),
      refused: (reply) => this.#exchange.loginRefused(reply, credentials.kind),
      drop: () => this.close(),
    });
  }

  /** A server that offers STLS and no USER would refuse the password after it had crossed the network in the clear. */
  #refuseWhereTlsIsDue(): void {
    const offered = this.#exchange.capabilities;
    const takesPassword = offered.has('USER') || offered.sasl.length > 0;
    if (this.#settings.tls !== 'none' || !offered.has('STLS') || takesPassword) return;
    throw new Pop3ConnectionError(
      'upstream_tls_failed',
      'login',
      `${this.#place} takes a password only under TLS. Set tls to "starttls". The password was not sent.`,
    );
  }

  #demand(state: 'authorization' | 'transaction', phase: Pop3Phase, what: string): void {
    if (this.state === 'closed' || this.state === state) return; // The connection tells why it is closed.
    const why = state === 'transaction' ? 'the session is not logged in: call login first' : 'the session is logged in';
    throw new Pop3CommandError('upstream_command_failed', phase, `${what} was not sent to ${this.#place}: ${why}.`);
  }

  async *#entries<Entry>(command: string, parse: (line: string) => Entry | null): AsyncGenerator<Entry, void> {
    this.#demand('transaction', 'list', command);
    for await (const lines of this.#exchange.lines('list', command, maildropMessagesMax)) {
      for (const line of lines) {
        const entry = parse(line);
        if (entry) yield entry;
      }
    }
  }

  async #single<Entry>(number: number, command: string, parse: (line: string) => Entry | null): Promise<Entry> {
    this.#demand('transaction', 'list', command);
    const line = `${command} ${requireNumber(number, 'list')}`;
    const reply = await this.#exchange.ask('list', line);
    const entry = parse(reply.octets);
    if (!entry) throw this.#exchange.broken('list', line, reply);
    return entry;
  }

  async *#each<Entry>(
    numbers: Iterable<number>,
    command: string,
    parse: (line: string) => Entry | null,
  ): AsyncGenerator<Entry, void> {
    this.#demand('transaction', 'list', command);
    for await (const { reply } of this.#answers('list', command, numbers)) {
      const entry = reply.ok ? parse(reply.octets) : null;
      if (entry) yield entry;
    }
  }

  async #body(line: string): Promise<MessageBody> {
    this.#demand('transaction', 'retrieve', line);
    return this.#exchange.askForBody('retrieve', line);
  }

  #bodies<Message extends MessageToRetrieve>(
    messages: Iterable<Message>,
    command: string,
    lineOf: (message: Message) => string,
    bytesOf: (message: Message) => number | null,
  ): AsyncIterableIterator<RetrievedMessage<Message>, void> {
    this.#demand('transaction', 'retrieve', command);
    return this.#exchange.series({
      phase: 'retrieve',
      items: messages,
      lineOf,
      bytesOf,
      hasBody: true,
      read: ({ item: message, line, body }, reply) =>
        reply.ok && body
          ? { message, body, error: null }
          : { message, body: null, error: this.#exchange.refused('retrieve', line, reply) },
    });
  }

  #answers(
    phase: Pop3Phase,
    command: string,
    numbers: Iterable<number>,
  ): AsyncIterableIterator<{ number: number; line: string; reply: StatusLine }, void> {
    return this.#exchange.series({
      phase,
      items: numbers,
      lineOf: (number) => `${command} ${requireNumber(number, phase)}`,
      bytesOf: () => null,
      hasBody: false,
      read: ({ item: number, line }, reply) => ({ number, line, reply }),
    });
  }
}
