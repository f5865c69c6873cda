/** What a domain itself says: its SRV and MX records, and the documents on its servers. Each answer says how it came about. */
import { Resolver } from 'node:dns/promises';
import { Agent, request } from 'undici';
import { createCheckedConnector, type HttpsRoute } from '../egress/connector.ts';
import { AppError, toError } from '../errors.ts';
import type { Provider } from '../mailbox/provider.ts';
import { providerOfExchange } from '../mailbox/providers.ts';
import { untilAborted } from '../until-aborted.ts';
import type { EmailAddress } from './address.ts';
import { DocumentError, readClientConfig, type DocumentServer } from './client-config.ts';
import { budgetMs, dnsTimeoutMs, dnsTries, documentBytesMax, recordsMax } from './limits.ts';

export type Outcome =
  | 'found'
  | 'none'
  | 'not_offered'
  | 'blocked'
  | 'timeout'
  | 'unreachable'
  | 'tls_failed'
  | 'unusable';

export interface Answer<T> {
  outcome: Outcome;
  found: readonly T[];
  detail: string | null;
}

export type DnsResolver = Pick<Resolver, 'resolveSrv' | 'resolveMx' | 'cancel'>;

export interface SrvServer {
  host: string;
  port: number;
}

/** Through the name servers of the system. */
export function createDnsResolver(): DnsResolver {
  return new Resolver({ timeout: dnsTimeoutMs, tries: dnsTries });
}

/** RFC 2782: by priority, then by weight; the heaviest first rather than by lot, so that one question has one answer. */
export async function askSrv(dns: DnsResolver, name: string, signal: AbortSignal): Promise<Answer<SrvServer>> {
  try {
    const records = await untilAborted(dns.resolveSrv(name), signal);
    const servers = records
      .toSorted((a, b) => a.priority - b.priority || b.weight - a.weight)
      .slice(0, recordsMax)
      .map(({ name: host, port }) => ({ host: host.replace(/\.$/, ''), port }));
    const offered = servers.filter(({ host, port }) => host !== '' && port > 0);
    // RFC 6186 §3.4: the root as the target says that there is no such service.
    if (offered.length === 0) return { outcome: 'not_offered', found: [], detail: 'The domain says that it has none.' };
    return { outcome: 'found', found: offered, detail: null };
  } catch (error) {
    return dnsFailure(error);
  }
}

export async function askMx(dns: DnsResolver, domain: string, signal: AbortSignal): Promise<Answer<Provider>> {
  try {
    const records = await untilAborted(dns.resolveMx(domain), signal);
    const provider = records
      .toSorted((a, b) => a.priority - b.priority)
      .slice(0, recordsMax)
      .map(({ exchange }) => providerOfExchange(exchange))
      .find((known) => known !== null);
    if (provider) return { outcome: 'found', found: [provider], detail: null };
    return { outcome: 'none', found: [], detail: 'No provider is known that takes mail for this domain.' };
  } catch (error) {
    return dnsFailure(error);
  }
}

function dnsFailure(thrown: unknown): Answer<never> {
  const code = codeOf(thrown);
  if (code === 'ENOTFOUND' || code === 'ENODATA')
    return { outcome: 'none', found: [], detail: 'There is no such record.' };
  if (isTimeUp(thrown) || code === 'ETIMEOUT' || code === 'ECANCELLED') return timedOut();
  return { outcome: 'unreachable', found: [], detail: 'The name server gave no usable answer.' };
}

/** Where Thunderbird looks, but by https only: what says where a password goes must not be anybody's to change on the way. */
export function documentUrls({ text, domain }: EmailAddress, port = 443): URL[] {
  const at = port === 443 ? '' : `:${port}`;
  return [
    new URL(`https://autoconfig.${domain}${at}/mail/config-v1.1.xml?emailaddress=${encodeURIComponent(text)}`),
    new URL(`https://${domain}${at}/.well-known/autoconfig/mail/config-v1.1.xml`),
  ];
}

/** No redirect is followed. */
export async function askDocument(
  route: HttpsRoute,
  url: URL,
  address: EmailAddress,
  signal: AbortSignal,
): Promise<Answer<DocumentServer>> {
  const agent = new Agent({
    connections: 1,
    pipelining: 1,
    connect: createCheckedConnector({ ...route, timeoutMs: budgetMs }),
  });
  try {
    const found = await untilAborted(readDocument(agent, url, signal), signal);
    if (found === null) return { outcome: 'none', found: [], detail: 'There is no such document.' };
    const servers = readClientConfig(found, address);
    if (servers.length > 0) return { outcome: 'found', found: servers, detail: null };
    return { outcome: 'none', found: [], detail: 'The document names no POP3 server with TLS.' };
  } catch (error) {
    return documentFailure(error);
  } finally {
    // Its sockets go by themselves; nobody has to wait for that.
    void agent.destroy().catch(() => undefined);
  }
}

/** Null where there is none. */
async function readDocument(agent: Agent, url: URL, signal: AbortSignal): Promise<Uint8Array | null> {
  const headers = { accept: 'application/xml, text/xml', 'user-agent': 'popbridge' };
  const { statusCode, body } = await request(url, { dispatcher: agent, signal, headers });
  // A body that is given up says so by an error, which nobody would hear: that ends the process.
  body.on('error', () => undefined);
  if (statusCode !== 200) {
    body.destroy();
    if (statusCode === 404 || statusCode === 410) return null;
    throw new DocumentError(`The server answered ${statusCode}; redirects are not followed.`);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    // One chunk too many is enough for the document to be refused.
    if (bytes > documentBytesMax) break;
  }
  return Buffer.concat(chunks);
}

function documentFailure(thrown: unknown): Answer<never> {
  const failed = (outcome: Outcome, detail: string): Answer<never> => ({ outcome, found: [], detail });
  if (thrown instanceof DocumentError) return failed('unusable', thrown.message);
  if (thrown instanceof AppError) {
    const { code, message } = thrown;
    return failed(code === 'egress_blocked' ? 'blocked' : 'unreachable', message);
  }
  const code = codeOf(thrown);
  if (isTimeUp(thrown) || code.includes('TIMEOUT') || code === 'ETIMEDOUT') return timedOut();
  if (/CERT|TLS|SSL|EPROTO|SIGNATURE|ISSUER/.test(code)) return failed('tls_failed', `No trusted TLS: ${code}.`);
  return failed('unreachable', `No answer: ${code || toError(thrown).name}.`);
}

function timedOut(): Answer<never> {
  return { outcome: 'timeout', found: [], detail: 'No answer in time.' };
}

function isTimeUp(thrown: unknown): boolean {
  return thrown instanceof DOMException && (thrown.name === 'TimeoutError' || thrown.name === 'AbortError');
}

function codeOf(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : '';
}
