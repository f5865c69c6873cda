/**
 * From an e-mail address to the POP3 settings of its mailbox. Domains of the large providers are answered from the table, and nobody is
 * asked. Otherwise the domain itself is, at once and within one budget: for its documents, its SRV records, and the provider that
 * takes its mail. No server is guessed: the password is going to be sent to what is given out here.
 *
 * The whole address goes to the domain's own server by https and nowhere else. Nothing is logged in to.
 */
import type { HttpsRoute } from '../egress/connector.ts';
import { AppError } from '../errors.ts';
import { canonicalHost } from '../identity.ts';
import type { LoginMethod, Provider } from '../mailbox/provider.ts';
import { providerOfDomain, providerOfHost } from '../mailbox/providers.ts';
import type { TlsMode } from '../mailbox/source.ts';
import { parseEmailAddress, type EmailAddress } from './address.ts';
import type { DocumentServer } from './client-config.ts';
import { budgetMs } from './limits.ts';
import { askDocument, askMx, askSrv, documentUrls, type DnsResolver, type Outcome, type SrvServer } from './sources.ts';

export type Origin = 'provider' | 'autoconfig' | 'srv';

export interface Candidate {
  origin: Origin;
  /** By its id, where the server is one of a known provider. */
  provider: { id: string; name: string } | null;
  source: { host: string; port: number; tls: TlsMode; username: string };
  auth: readonly LoginMethod[];
  minIntervalSeconds: number | null;
  isListingPartial: boolean;
  notes: readonly string[];
  documentation: string | null;
}

export interface Tried {
  origin: Origin;
  /** A domain, the name of a record, or a URL without the address. */
  target: string;
  outcome: Outcome;
  detail: string | null;
}

export interface FoundSettings {
  domain: string;
  /** `not_offered`: the provider, or the domain, is known to have none. */
  pop3: 'offered' | 'not_offered' | 'unknown';
  /** Best first. */
  candidates: readonly Candidate[];
  /** Why there is no POP3, where that is known. */
  notes: readonly string[];
  documentation: string | null;
  tried: readonly Tried[];
}

export interface FindSettingsPorts {
  /** Of this search alone: it is called off when the time is up. */
  createDns(): DnsResolver;
  https: HttpsRoute;
  /** @throws AppError `egress_blocked`. */
  checkPop3(target: { host: string; port: number }): void;
  /** Of the documents; 443 unless given. */
  httpsPort?: number;
  /** Of all of it; `budgetMs` unless given. */
  timeoutMs?: number;
}

/** @throws AppError `invalid_request` for what is no address, `cancelled` where the caller has gone. */
export async function findSettings(
  ports: FindSettingsPorts,
  email: string,
  signal: AbortSignal,
): Promise<FoundSettings> {
  const address = parseEmailAddress(email);
  const known = providerOfDomain(address.domain);
  const { tried, offers } = known
    ? {
        tried: [{ origin: 'provider' as const, target: address.domain, outcome: 'found' as const, detail: null }],
        offers: [known],
      }
    : await askDomain(ports, address, signal);
  const candidates: Candidate[] = [];
  for (const offer of offers) {
    const candidate = toCandidate(offer, address);
    if (candidate === null || candidates.some((other) => isSame(other, candidate))) continue;
    const refusal = blockedBy(ports, candidate);
    if (refusal === null) candidates.push(candidate);
    else tried.push({ origin: candidate.origin, target: candidate.source.host, outcome: 'blocked', detail: refusal });
  }
  const without = offers.find((offer): offer is Provider => 'pop3' in offer && offer.pop3 === null);
  const srv = tried.filter(({ origin }) => origin === 'srv').map(({ outcome }) => outcome);
  // One service that is denied says nothing of another that was not heard of, or is forbidden to us.
  const isDenied =
    without !== undefined ||
    (srv.includes('not_offered') && srv.every((outcome) => outcome === 'not_offered' || outcome === 'none'));
  return {
    domain: address.domain,
    pop3: candidates.length > 0 ? 'offered' : isDenied ? 'not_offered' : 'unknown',
    candidates,
    notes: candidates.length === 0 ? (without?.notes ?? []) : [],
    documentation: candidates.length === 0 ? (without?.documentation ?? null) : null,
    tried,
  };
}

type Offer = Provider | DocumentServer | (SrvServer & { tls: 'implicit' | 'starttls' });

/** What the domain publishes for mail programs comes first, then its provider, then SRV, which says nothing of the login. */
async function askDomain(
  ports: FindSettingsPorts,
  address: EmailAddress,
  caller: AbortSignal,
): Promise<{ tried: Tried[]; offers: Offer[] }> {
  const signal = AbortSignal.any([caller, AbortSignal.timeout(ports.timeoutMs ?? budgetMs)]);
  const dns = ports.createDns();
  const srvNames = ['_pop3s', '_pop3'].map((service) => `${service}._tcp.${address.domain}`);
  const urls = documentUrls(address, ports.httpsPort);
  try {
    const [documents, mx, srv] = await Promise.all([
      Promise.all(urls.map((url) => askDocument(ports.https, url, address, signal))),
      askMx(dns, address.domain, signal),
      Promise.all(srvNames.map((name) => askSrv(dns, name, signal))),
    ]);
    if (caller.aborted) throw new AppError('cancelled', 'The caller has gone.');
    const told = (
      origin: Origin,
      target: string,
      { outcome, detail }: { outcome: Outcome; detail: string | null },
    ) => ({
      origin,
      target,
      outcome,
      detail,
    });
    return {
      tried: [
        ...documents.map((answer, index) => told('autoconfig', withoutQuery(urls[index]), answer)),
        told('provider', `MX ${address.domain}`, mx),
        ...srv.map((answer, index) => told('srv', srvNames[index] ?? '', answer)),
      ],
      offers: [
        ...documents.flatMap(({ found }) => found),
        ...mx.found,
        ...srv.flatMap(({ found }, index) =>
          found.map((server) => ({ ...server, tls: index === 0 ? ('implicit' as const) : ('starttls' as const) })),
        ),
      ],
    };
  } finally {
    dns.cancel();
  }
}

function withoutQuery(url: URL | undefined): string {
  return url ? `${url.origin}${url.pathname}` : '';
}

const CONFIRM =
  'The server is not below the domain of the address: have a person confirm it before a password is sent there (RFC 6186 §6).';
const ADDRESS_FIRST = 'Where the address is refused as the user name, try what is before its @ (RFC 6186 §4).';

/** Null for a provider without POP3. What is known of the provider of a host counts, whoever has named the host. */
function toCandidate(offer: Offer, address: EmailAddress): Candidate | null {
  if ('pop3' in offer) {
    if (!offer.pop3) return null;
    const { username, ...place } = offer.pop3;
    const source = { ...place, username: username === 'address' ? address.text : address.localPart };
    return describe('provider', source, offer, [], []);
  }
  const host = canonicalHost(offer.host);
  const provider = providerOfHost(host);
  const isForeign = !provider && host !== address.domain && !host.endsWith(`.${address.domain}`);
  const { port, tls } = offer;
  if ('methods' in offer) {
    const source = { host, port, tls, username: offer.username };
    const auth = offer.methods.map((method): LoginMethod => ({ method, preset: null }));
    return describe('autoconfig', source, provider, auth, []);
  }
  const notes = isForeign ? [CONFIRM, ADDRESS_FIRST] : [ADDRESS_FIRST];
  return describe(
    'srv',
    { host, port, tls, username: address.text },
    provider,
    [{ method: 'password', preset: null }],
    notes,
  );
}

function describe(
  origin: Origin,
  source: Candidate['source'],
  provider: Provider | null,
  auth: readonly LoginMethod[],
  notes: readonly string[],
): Candidate {
  return {
    origin,
    provider: provider && { id: provider.id, name: provider.name },
    source,
    auth: provider?.auth ?? auth,
    minIntervalSeconds: provider?.minIntervalSeconds ?? null,
    isListingPartial: provider?.isListingPartial ?? false,
    notes: [...notes, ...(provider?.notes ?? [])],
    documentation: provider?.documentation ?? null,
  };
}

function isSame({ source: a }: Candidate, { source: b }: Candidate): boolean {
  return a.host === b.host && a.port === b.port && a.tls === b.tls && a.username === b.username;
}

/** The binding answer comes when a connection is made: a name may lead anywhere by then. */
function blockedBy({ checkPop3 }: FindSettingsPorts, { source }: Candidate): string | null {
  try {
    checkPop3(source);
    return null;
  } catch (error) {
    if (error instanceof AppError && error.code === 'egress_blocked') return error.message;
    throw error;
  }
}
