/**
 * Tries the settings of a mailbox, and keeps nothing: logs in, lists, and logs out. No message is retrieved, and none is deleted. What it
 * finds is for the person who fills in the form: facts where it works, and what to do where it does not.
 */
import { AppError, isFailureCode, isRetryable, toError, type FailureCode } from '../errors.ts';
import type { Credentials } from '../mailbox/credentials.ts';
import { describeGrant } from '../mailbox/oauth2/grant.ts';
import type { Logins } from '../mailbox/oauth2/logins.ts';
import { OAuth2Error } from '../mailbox/oauth2/oauth2-error.ts';
import type { FetchLimits, FirstFetch, MessageFilter } from '../mailbox/policies.ts';
import { checkGrant, hasCertificates, maildropOf, unreadableCertificates, type TlsMode } from '../mailbox/source.ts';
import { Pop3Client, Pop3Error, type AddressResolver, type Capabilities, type TlsFacts } from '../pop3/index.ts';
import { skipOlder } from './first-fetch.ts';
import type { Leases } from './lease.ts';
import { detailCharsMax, verificationMs } from './limits.ts';
import { keyListing, planFetch, type Listed } from './plan.ts';
import { bytesOf, listMaildrop } from './listing.ts';

export interface VerificationRequest {
  source: { host: string; port: number; tls: TlsMode; username: string; credentials: Credentials; ca: string | null };
  firstFetch: FirstFetch;
  limits: FetchLimits;
  /** Its header conditions are not looked at. */
  filter?: MessageFilter | undefined;
}

export interface Verification {
  isOk: boolean;
  failure: {
    code: FailureCode;
    detail: string;
    phase: string | null;
    isRetryable: boolean;
    hint: string | null;
  } | null;
  tls: TlsFacts | null;
  /** As after the login, or before it where that failed; null where the session did not get as far. */
  capabilities: Capabilities | null;
  maildrop: {
    messages: number;
    bytes: number;
    hasUniqueIds: boolean;
    /** Messages whose unique-id an earlier one has as well. */
    repeatedUniqueIds: number;
    largestBytes: number;
  } | null;
  wouldFetch: { messages: number; bytes: number; tooLarge: number } | null;
  warnings: VerificationWarning[];
  ms: number;
}

export interface VerificationWarning {
  code:
    | 'password_in_clear'
    | 'no_unique_ids'
    | 'repeated_unique_ids'
    | 'no_top'
    | 'expires'
    | 'login_delay'
    | 'refresh_token_spent';
  detail: string;
}

export interface VerificationPorts {
  clock: { now(): number };
  resolve: AddressResolver;
  leases: Leases;
  uniqueId(): string;
  /** @throws AppError `egress_blocked`. */
  checkEgress(target: { host: string; port: number }): void;
  /** @throws AppError `egress_blocked`. */
  checkTokenEndpoint(url: string): unknown;
  logins: Pick<Logins, 'tryOut'>;
}

/** @throws AppError `invalid_request`, `conflict` while a fetch of ours is in the maildrop; what is not of the upstream's doing. */
export async function verifyMailbox(
  ports: VerificationPorts,
  tenant: string,
  request: VerificationRequest,
  signal: AbortSignal,
): Promise<Verification> {
  const { source } = request;
  if (source.ca !== null && !hasCertificates(source.ca)) throw unreadableCertificates();
  const { credentials } = source;
  const isGranted = credentials.type === 'oauth2';
  const startedMs = ports.clock.now();
  const found: Omit<Verification, 'isOk' | 'failure' | 'ms'> = {
    tls: null,
    capabilities: null,
    maildrop: null,
    wouldFetch: null,
    warnings: source.tls === 'none' && !isGranted ? [CLEAR] : [],
  };
  const lease = await ports.leases.acquire(tenant, maildropOf(tenant, source), ports.uniqueId());
  if (!lease) {
    throw new AppError('conflict', 'A fetch of ours is in this maildrop at this moment. Try again when it has ended.');
  }
  try {
    ports.checkEgress(source);
    if (isGranted) checkGrant(describeGrant(credentials.grant), source.tls, ports.checkTokenEndpoint);
    await look(ports, request, AbortSignal.any([signal, AbortSignal.timeout(verificationMs)]), found);
    return { isOk: true, failure: null, ...found, ms: ports.clock.now() - startedMs };
  } catch (thrown) {
    if (signal.aborted) throw new AppError('cancelled', 'The caller has gone.', { cause: thrown });
    return { isOk: false, failure: describe(thrown, isGranted), ...found, ms: ports.clock.now() - startedMs };
  } finally {
    await lease.release();
  }
}

async function look(
  { resolve, logins }: VerificationPorts,
  { source, firstFetch, limits, filter }: VerificationRequest,
  signal: AbortSignal,
  found: Omit<Verification, 'isOk' | 'failure' | 'ms'>,
): Promise<void> {
  const { ca, credentials, ...place } = source;
  const { secret, isSpent } = await logins.tryOut(credentials, signal);
  if (isSpent) found.warnings.push(SPENT);
  const client = await Pop3Client.connect({ ...place, ...secret, ...(ca !== null && { ca }) }, { signal, resolve });
  try {
    found.tls = client.tlsFacts;
    found.capabilities = client.capabilities;
    await client.login();
    found.capabilities = client.capabilities;
    const { listing, hasUidl } = await listMaildrop(client);
    found.maildrop = describeMaildrop(listing, hasUidl);
    const plan = planFetch(listing, skipOlder(firstFetch, listing, 0), { limits, filter }, { messages: 0, bytes: 0 });
    found.wouldFetch = {
      messages: plan.retrieve.length,
      bytes: bytesOf(plan.retrieve),
      tooLarge: plan.headersOnly.length,
    };
    found.warnings.push(...warnOf(client.capabilities, found.maildrop));
    await client.quit().catch(() => undefined);
  } finally {
    client.close();
  }
}

function describeMaildrop(listing: readonly Listed[], hasUniqueIds: boolean): NonNullable<Verification['maildrop']> {
  return {
    messages: listing.length,
    bytes: bytesOf(listing),
    hasUniqueIds,
    repeatedUniqueIds: keyListing(listing).filter(({ occurrence }) => occurrence > 0).length,
    largestBytes: listing.reduce((most, { bytes }) => Math.max(most, bytes ?? 0), 0),
  };
}

const CLEAR: VerificationWarning = {
  code: 'password_in_clear',
  detail: 'Without TLS anybody on the way can read the password and the mail. Use tls `implicit` or `starttls`.',
};

const SPENT: VerificationWarning = {
  code: 'refresh_token_spent',
  detail:
    'The token endpoint has given a new refresh token, which this try does not keep. Where each is taken only once, get another before ' +
    'the mailbox is stored. A stored mailbox keeps each new one.',
};

function warnOf(
  capabilities: Capabilities,
  { hasUniqueIds, repeatedUniqueIds }: NonNullable<Verification['maildrop']>,
): VerificationWarning[] {
  const { expire, loginDelay } = capabilities;
  const warnings: (VerificationWarning | false)[] = [
    !hasUniqueIds && {
      code: 'no_unique_ids',
      detail: 'The server has no UIDL: each fetch retrieves all mail to know which is new.',
    },
    repeatedUniqueIds > 0 && {
      code: 'repeated_unique_ids',
      detail: 'The server gives one unique-id to several messages. They are told apart by their order.',
    },
    capabilities.entries.size > 0 &&
      !capabilities.has('TOP') && {
        code: 'no_top',
        detail: 'The server has no TOP: of a message over limits.messageBytes not even the header section can be had.',
      },
    expire !== null &&
      Number.isFinite(expire.days) && {
        code: 'expires',
        detail: `The server deletes mail by itself after ${expire.days} days (EXPIRE).`,
      },
    loginDelay !== null &&
      loginDelay.seconds > 0 && {
        code: 'login_delay',
        detail: `The server wants ${loginDelay.seconds} seconds between two logins (LOGIN-DELAY). A schedule keeps to that.`,
      },
  ];
  return warnings.filter((warning) => warning !== false);
}

/** What to do, beyond what the failure itself says. */
const HINTS: Partial<Record<FailureCode, string>> = {
  upstream_auth_failed:
    'Is the user name the whole address? Many providers want POP3 to be switched on for the mailbox, and an app password in the place of ' +
    'that of the account.',
  upstream_tls_failed:
    'Port 995 is for `implicit`, 110 for `starttls`. A server whose certificate is of a private authority needs that as `ca`.',
  upstream_not_pop3: 'Another service answers on this port. POP3 is on 995 (`implicit`) or 110 (`starttls`).',
  upstream_unreachable: 'Are host and port right, and is the server open to this network?',
  upstream_timeout: 'A firewall that drops connections looks like this. Are host and port right?',
  upstream_locked: 'Another program is reading this mailbox at this moment.',
  oauth2_consent_gone: 'Let the user consent anew, and give the refresh token that comes of it.',
  oauth2_refused: 'Is the scope one for POP3, and is the application registered with this client id and secret?',
  oauth2_unavailable: 'Is the address of the token endpoint right, and is it open to this network?',
  egress_blocked: 'Whoever runs popbridge can allow the host: POPBRIDGE_EGRESS_ALLOW.',
};

const TOKEN_REFUSED_HINT =
  'Is the user name the mailbox that the token is for, is its scope one for POP3, and is POP3 switched on for the mailbox? An application ' +
  'that asks for itself (client_credentials) has to be let in to the mailbox as well.';

function describe(thrown: unknown, isGranted: boolean): NonNullable<Verification['failure']> {
  const isTimeUp = thrown instanceof DOMException && thrown.name === 'TimeoutError';
  const error = isTimeUp
    ? new AppError('upstream_timeout', `The server took longer than ${verificationMs / 1000} seconds.`)
    : toError(thrown);
  if (!(error instanceof AppError) || !isFailureCode(error.code)) throw thrown;
  return {
    code: error.code,
    detail: error.message.slice(0, detailCharsMax),
    phase: error instanceof Pop3Error || error instanceof OAuth2Error ? error.phase : null,
    isRetryable: isRetryable(error.code),
    hint: isGranted && error.code === 'upstream_auth_failed' ? TOKEN_REFUSED_HINT : (HINTS[error.code] ?? null),
  };
}
