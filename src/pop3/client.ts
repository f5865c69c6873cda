/**
 * The POP3 client: one session with one maildrop (RFC 1939), from the connection to QUIT.
 *
 * It owns the order of commands and what their answers mean. It does not decide what to fetch or delete, keeps nothing
 * between sessions, never retries, and knows of the egress policy only the resolver that it is given.
 */
import { MessageBody, LineBody } from './body.ts';
import { Connection, type Command } from './connection.ts';
import { Pop3CommandError, Pop3ConnectionError, Pop3ProtocolError, type Pop3Phase } from './errors.ts';
import {
  capabilitiesMax,
  defaultTimeouts,
  maildropMessagesMax,
  pipelineBackoff,
  pipelineBytesMax,
  pipelineCommandsMax,
  type Pop3Timeouts,
} from './limits.ts';
import { logIn } from './login.ts';
import { readApopChallenge, readChannelBinding, readOffer, type Credentials } from './sasl/index.ts';
import type { MessageToRetrieve, PipeliningMemory, Pop3Options, Pop3Settings, RetrievedMessage } from './settings.ts';
import { pipeline, type PipelinedReply, type PipelinedRequest } from './pipeline.ts';
import {
  parseCapabilities,
  parseListLine,
  parseStat,
  parseUidlLine,
  readRefusal,
  type Capabilities,
  type StatusLine,
} from './replies.ts';
import {
  describe,
  openTcp,
  readTlsAlert,
  readTlsFacts,
  startTls,
  type TlsFacts,
  type TransportOptions,
} from './transport.ts';

export class Pop3Client {
  readonly #connection: Connection;
  readonly #settings: Pop3Settings;
  readonly #timeouts: Readonly<Pop3Timeouts>;
  readonly #pipelining: PipeliningMemory | undefined;
  #capabilities: Capabilities | undefined;
  #greeting = '';
  /** The socket that TLS is on; null without. */
  #secured: Awaited<ReturnType<typeof startTls>> | null = null;

  private constructor(
    connection: Connection,
    settings: Pop3Settings,
    timeouts: Readonly<Pop3Timeouts>,
    pipelining: PipeliningMemory | undefined,
  ) {
    this.#connection = connection;
    this.#settings = settings;
    this.#timeouts = timeouts;
    this.#pipelining = pipelining;
  }

  /**
   * Connects, secures the connection as the settings say, and reads the greeting.
   * @throws Pop3ConnectionError, Pop3ProtocolError, Pop3CommandError (a greeting of -ERR), or the resolver's error.
   */
  static async connect(settings: Pop3Settings, options: Pop3Options = {}): Promise<Pop3Client> {
    const timeouts = { ...defaultTimeouts, ...options.timeouts };
    const signal = options.signal ?? new AbortController().signal;
    const { resolve, resolveProxy } = options;
    const transport: TransportOptions = {
      timeouts,
      signal,
      ...(resolve && { resolve }),
      ...(resolveProxy && { resolveProxy }),
    };
    const tcp = await openTcp(settings, transport);
    const secured = settings.tls === 'implicit' ? await startTls(tcp, settings, transport) : null;
    const connection = new Connection(secured ?? tcp, {
      place: describe(settings),
      timeouts,
      signal,
      secrets: secretsOf(settings),
      isImplicitTls: settings.tls === 'implicit',
      readAlert: (error) => (settings.tls === 'none' ? null : readTlsAlert(error, settings)),
    });
    const client = new Pop3Client(connection, settings, timeouts, options.pipelining);
    try {
      const greeting = await connection.send({ phase: 'greeting', line: null, timeoutMs: timeouts.greetingMs });
      if (!greeting.ok) throw client.#refused('greeting', greeting);
      client.#greeting = greeting.text;
      client.#secured = secured;
      if (settings.tls === 'starttls') await client.#secure(transport);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** What was agreed on in the TLS handshake, and the certificate; null without TLS. */
  get tlsFacts(): TlsFacts | null {
    return this.#secured && readTlsFacts(this.#secured, this.#settings);
  }

  /** CAPA (RFC 2449 §5); empty where the server does not know the command. */
  async capabilities(): Promise<Capabilities> {
    const lines: string[] = [];
    await this.#multiLine('capabilities', 'CAPA', capabilitiesMax, (line) => lines.push(line));
    this.#capabilities = parseCapabilities(lines);
    return this.#capabilities;
  }

  /**
   * Logs in: by the strongest way that CAPA lists, by USER and PASS where it was not asked, or by `settings.mechanism`.
   * @throws Pop3CommandError with `upstream_auth_failed`, `upstream_locked`, `upstream_unavailable` or
   * `upstream_command_failed`; Pop3ProtocolError where the server broke the exchange, which ends the session.
   */
  async login(): Promise<void> {
    this.#refuseWhereTlsIsDue();
    const { host, port, mechanism: way, twoStep = false } = this.#settings;
    await logIn({
      place: describe(this.#settings),
      host,
      port,
      credentials: this.#credentials,
      ...(way && { way }),
      twoStep,
      offered: this.#capabilities ? readOffer(this.#capabilities) : null,
      tls: this.#settings.tls !== 'none',
      binding: this.#secured && readChannelBinding(this.#secured),
      apopChallenge: readApopChallenge(this.#greeting),
      send: (line, secret) => this.#connection.ask(line, secret, this.#timeouts.commandMs),
      refused: (reply) => this.#refused('login', reply),
      drop: () => this.close(),
    });
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
    const body = new MessageBody(this.#connection);
    const reply = await this.#send({ phase: 'retrieve', line: `RETR ${number}`, body });
    if (!reply.ok) throw this.#commandFailed('retrieve', `RETR ${number}`, reply);
    return body;
  }

  /**
   * RETR of many, pipelined where the server allows it. Yields them in order; each body must be read before the next message is
   * asked for, or is passed over if it was not begun. `messages` is read as late as the window allows. Leaving early ends
   * the session.
   * @throws Pop3ConnectionError, Pop3ProtocolError. A message that the server refuses has an `error`, and the others come.
   */
  async *retrieveAll<Message extends MessageToRetrieve>(
    messages: Iterable<Message>,
  ): AsyncGenerator<RetrievedMessage<Message>, void> {
    const requests = mapIterable(messages, (message) => ({
      message,
      bytes: message.bytes ?? 0,
      line: `RETR ${message.number}`,
      body: new MessageBody(this.#connection),
    }));
    for await (const { request, reply } of this.#pipeline('retrieve', requests)) {
      const { message, line, body } = request;
      if (reply.ok) yield { message, body, error: null };
      else yield { message, body: null, error: this.#commandFailed('retrieve', line, reply) };
      body.skip();
    }
  }

  /** DELE: takes effect at QUIT. @throws Pop3CommandError with `upstream_command_failed`. */
  async delete(number: number): Promise<void> {
    const reply = await this.#send({ phase: 'delete', line: `DELE ${number}` });
    if (!reply.ok) throw this.#commandFailed('delete', `DELE ${number}`, reply);
  }

  /** DELE of many, pipelined where the server allows it. Resolves with those that it refused, by message number. */
  async deleteAll(numbers: Iterable<number>): Promise<Map<number, Pop3CommandError>> {
    const refused = new Map<number, Pop3CommandError>();
    const requests = mapIterable(numbers, (number) => ({ number, bytes: 0, line: `DELE ${number}` }));
    for await (const { request, reply } of this.#pipeline('delete', requests)) {
      if (!reply.ok) refused.set(request.number, this.#commandFailed('delete', request.line, reply));
    }
    return refused;
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
    this.#secured = await startTls(this.#connection.release(), this.#settings, transport);
    this.#connection.adopt(this.#secured);
  }

  get #credentials(): Credentials {
    const { username, password = '', accessToken, authzid, mechanism } = this.#settings;
    const identity = authzid === undefined ? {} : { authzid };
    if (mechanism === 'EXTERNAL') return { kind: 'external', ...identity };
    if (accessToken !== undefined) return { kind: 'token', username, accessToken };
    return { kind: 'password', username, password, ...identity };
  }

  /** A server that offers STLS and no USER would refuse the password after it had crossed the network in the clear. */
  #refuseWhereTlsIsDue(): void {
    const offered = this.#capabilities?.entries;
    if (this.#settings.tls !== 'none' || !offered?.has('STLS') || offered.has('USER') || offered.get('SASL')?.length)
      return;
    throw new Pop3ConnectionError(
      'upstream_tls_failed',
      'login',
      `${describe(this.#settings)} takes a password only under TLS. Set tls to "starttls". The password was not sent.`,
    );
  }

  async *#pipeline<Request extends PipelinedRequest & { line: string; body?: MessageBody }>(
    phase: Pop3Phase,
    requests: Iterable<Request>,
  ): AsyncGenerator<PipelinedReply<Request>, void> {
    const { commandMs: timeoutMs } = this.#timeouts;
    const count = this.#pipelineCount();
    const send = (batch: readonly Request[]): Promise<StatusLine>[] =>
      this.#connection.sendAll(batch.map(({ line, body }) => ({ phase, line, timeoutMs, ...(body && { body }) })));
    let isDone = false;
    try {
      yield* pipeline(requests, { count, bytes: pipelineBytesMax }, send);
      isDone = true;
    } finally {
      // Not done: the consumer left or the session broke, perhaps while a body was read. Answers may be under way still.
      if (!isDone) this.close();
      if (count > 1 && this.#connection.isBrokenOff) {
        this.#pipelining?.set(describe(this.#settings), Math.ceil(count / pipelineBackoff));
      }
    }
  }

  /** RFC 2449 §6.6: only where CAPA says so, and never more than this server was seen to bear. */
  #pipelineCount(): number {
    if (!this.#capabilities?.entries.has('PIPELINING')) return 1;
    return this.#pipelining?.get(describe(this.#settings)) ?? pipelineCommandsMax;
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
    return this.#connection.quote(reply.line);
  }
}

function* mapIterable<From, To>(items: Iterable<From>, map: (item: From) => To): Generator<To, void> {
  for (const item of items) yield map(item);
}

function secretsOf({ password, accessToken }: Pop3Settings): string[] {
  return [password, accessToken].filter((secret) => secret !== undefined);
}
