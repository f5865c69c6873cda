/** What the client is told, and what it hands out. */
import type { Pop3CommandError } from './errors.ts';
import type { Pop3Timeouts } from './limits.ts';
import type { LoginWay } from './sasl/index.ts';
import type { AddressResolver, Endpoint } from './transport.ts';

/** RFC 8314 §3: `implicit` from the first byte, `starttls` by STLS and never without, `none` in the clear. */
export type TlsMode = 'implicit' | 'starttls' | 'none';

export interface Pop3Settings extends Endpoint {
  tls: TlsMode;
  username: string;
  password?: string;
  /** An OAuth 2.0 bearer token, for OAUTHBEARER and XOAUTH2, in place of the password. */
  accessToken?: string;
  /** Whose maildrop to open, where that is not the user's own; few servers know this. */
  authzid?: string;
  /** The only way to log in, whatever else is offered; `EXTERNAL` by the TLS client certificate. */
  mechanism?: LoginWay;
  /** For a server that lists SASL and yet takes no initial response in the AUTH line. */
  twoStep?: boolean;
  /**
   * Does not ask for capabilities: for a server that is known not to bear CAPA, or for a poll that wants its two round trips
   * back. The login is then by USER and PASS unless `mechanism` says otherwise, nothing is pipelined, and UTF-8 is not asked
   * for: Courier then gives a notice in place of mail with UTF-8 headers.
   */
  skipCapa?: boolean;
  /** False: does not ask for UTF-8 (RFC 6856 §2), which is asked for before the login where CAPA offers it. */
  utf8?: boolean;
}

export interface Pop3Options {
  /** Ends any wait at once, with the signal's reason as the error. */
  signal?: AbortSignal;
  /** Where the egress policy enters: gives the addresses that may be connected to. The system's resolver unless given. */
  resolve?: AddressResolver;
  /** The same for the proxy's own host, which is trusted unless given. */
  resolveProxy?: AddressResolver;
  timeouts?: Partial<Pop3Timeouts>;
  /** Remembers servers that advertise pipelining and do not bear it. Nothing is remembered unless given. */
  pipelining?: PipeliningMemory;
  /**
   * What becomes of the octets of messages. `kept` (unless set): a chunk is the consumer's for as long as it likes. `lent`: a
   * chunk is not to be looked at once the next is asked for or the loop is left, as its memory may be given back right then,
   * which leaves it empty; a process that only passes mail on stays small.
   */
  chunks?: 'kept' | 'lent';
  /** Hears every line of the session, see `WireEntry`. What it throws ends the session. */
  onWire?: (entry: WireEntry) => void;
}

/**
 * What went over the wire, fit for a log: passwords, tokens, digests and SASL exchanges are `[redacted]`, and the server's text
 * is cut, with control characters escaped. Of multi-line answers, mail among them, there is the size alone.
 */
export type WireEntry = { from: 'client' | 'server'; line: string } | { from: 'server'; bodyBytes: number };

/** By `host:port`, the number of commands that may be under way at once. */
export interface PipeliningMemory {
  get(place: string): number | undefined;
  set(place: string, count: number): void;
}

export interface MessageToRetrieve {
  number: number;
  /** Octets as LIST states them; null where unknown. */
  bytes: number | null;
}

/** One of many that were asked for: its body, or why the server refuses it. */
export type RetrievedMessage<Message> =
  | { message: Message; body: AsyncIterable<Buffer>; error: null }
  | { message: Message; body: null; error: Pop3CommandError };

/** `authorization` until the login is through, `transaction` until QUIT, then `closed` (RFC 1939 §3). */
export type Pop3State = 'authorization' | 'transaction' | 'closed';
