/**
 * A webhook: a URL that the events of a tenant are sent to, and which of them. This folder owns webhooks, their secrets, and every
 * delivery to them. It does not say what happens in popbridge: events are announced to it; and it does not build their bodies.
 */
import { fetchOfWebhook } from '../identity.ts';

export interface WebhookRef {
  tenant: string;
  id: string;
}

/** What the owner says. */
export interface WebhookSettings extends EndpointSettings {
  /** For people; popbridge makes nothing of it. */
  description: string | null;
  payload: 'thin' | 'full';
}

/** `thin`: without the text of a message. `texts`: without its attachments. */
export type PayloadForm = 'thin' | 'texts' | 'full';

export interface EndpointSettings {
  url: string;
  /** Types of events; `*` stands for all, `message.*` for all of messages. */
  events: readonly string[];
  /** Null: events of all mailboxes, and of none. */
  mailboxes: readonly string[] | null;
  payload: PayloadForm;
  ratePerSecond: number | null;
  concurrency: number;
  isOrdered: boolean;
  timeoutMs: number;
  /** Requests are signed by Ed25519, too. */
  hasEd25519: boolean;
}

export interface Disabled {
  /** `gone`: it answered 410. `failing`: nothing was acknowledged for too long. */
  reason: 'owner' | 'gone' | 'failing';
  /** ISO 8601. */
  at: string;
}

/** What events are delivered to: a webhook of the tenant, or that of a fetch. */
export interface Endpoint extends WebhookRef {
  settings: EndpointSettings;
  /** Null: it is enabled. */
  disabled: Disabled | null;
  /** When it was last enabled again, ISO 8601; absent: never. */
  enabledAt?: string;
}

/** Without anything secret. Times are ISO 8601. */
export interface Webhook extends Endpoint {
  settings: WebhookSettings;
  headerNames: readonly string[];
  /** `whpk_` and base64; null without Ed25519. */
  publicKey: string | null;
  /** Of each secret, the newest first; null where it has no end. */
  secretsValidUntil: readonly (string | null)[];
  createdAt: string;
  updatedAt: string;
}

export interface WebhookSecret {
  /** `whsec_` and base64. */
  secret: string;
  /** ISO 8601; null where it has no end. */
  validUntil: string | null;
}

/** What is sealed. */
export interface WebhookSecrets {
  /** The newest first. */
  secrets: readonly WebhookSecret[];
  /** PKCS #8 in base64, the newest first; none until Ed25519 was asked for. */
  ed25519Keys: readonly WebhookSecret[];
  /** Extra headers: some gateways want a token in them. */
  headers: Readonly<Record<string, string>>;
}

export interface Endpoints {
  /** Another one whenever the endpoint or its secrets have changed; null where that cannot be told, or it is gone. */
  version(ref: WebhookRef): Promise<string | null>;
  find(ref: WebhookRef): Promise<Endpoint | null>;
  /** Null where it is gone. @throws AppError `credentials_unavailable`. */
  openSecrets(ref: WebhookRef): Promise<WebhookSecrets | null>;
  /** Unless it is. */
  disable(ref: WebhookRef, disabled: Disabled): Promise<void>;
  /** Its breaker has opened, or closed: for those who count. */
  noteBreaker(ref: WebhookRef, isOpen: boolean): Promise<void>;
}

/** Both kinds of webhooks. */
export function createEndpoints(ofTenants: Endpoints, ofFetches: Endpoints): Endpoints {
  const storeOf = (ref: WebhookRef): Endpoints => (isOfFetch(ref) ? ofFetches : ofTenants);
  return {
    version: (ref) => storeOf(ref).version(ref),
    find: (ref) => storeOf(ref).find(ref),
    openSecrets: (ref) => storeOf(ref).openSecrets(ref),
    disable: (ref, disabled) => storeOf(ref).disable(ref, disabled),
    noteBreaker: (ref, isOpen) => storeOf(ref).noteBreaker(ref, isOpen),
  };
}

export function isOfFetch({ id }: Pick<WebhookRef, 'id'>): boolean {
  return fetchOfWebhook(id) !== null;
}

/** Nothing more is sent to it, and nobody can enable it again. */
export function isGivenUp(endpoint: Endpoint): boolean {
  return endpoint.disabled !== null && isOfFetch(endpoint);
}

/** Nothing is sent, and what waits goes on waiting. */
export function isStopped(endpoint: Endpoint): boolean {
  return endpoint.disabled !== null && !isGivenUp(endpoint);
}

/** Whether the webhook wants the event. */
export function wantsEvent(
  { events, mailboxes }: Pick<EndpointSettings, 'events' | 'mailboxes'>,
  { type, mailboxId }: { type: string; mailboxId: string | null },
): boolean {
  if (mailboxes !== null && (mailboxId === null || !mailboxes.includes(mailboxId))) return false;
  return events.some(
    (pattern) =>
      pattern === '*' || pattern === type || (pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1))),
  );
}
