/** The public face of the POP3 client, exported as `popbridge/pop3`. */
export { Pop3Client } from './client.ts';
export type {
  MessageToRetrieve,
  PipeliningMemory,
  Pop3Options,
  Pop3Settings,
  Pop3State,
  RetrievedMessage,
  TlsMode,
  WireEntry,
} from './settings.ts';
export {
  Pop3CommandError,
  Pop3ConnectionError,
  Pop3Error,
  Pop3ProtocolError,
  type Pop3Phase,
  type ResponseCode,
} from './errors.ts';
export { defaultTimeouts, type Pop3Timeouts } from './limits.ts';
export type { Capabilities } from './capabilities.ts';
export type { ListEntry, Pop3Language, UidlEntry } from './replies.ts';
export { isLoginWay, LOGIN_WAYS, type LoginWay } from './sasl/index.ts';
export {
  parsePin,
  parseProxyUrl,
  type AddressResolver,
  type Endpoint,
  type ProxyServer,
  type ResolvedAddress,
  type TlsFacts,
  type TlsFailure,
  type TlsOptions,
} from './transport.ts';
export { formatPop3Url, parsePop3Url, type Pop3Url } from './url.ts';
