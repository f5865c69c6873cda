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
}

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

export type RetrievedMessage<Message> =
  | { message: Message; body: AsyncIterable<Buffer>; error: null }
  | { message: Message; body: null; error: Pop3CommandError };
