/**
 * A webhook: a URL that the events of a tenant are sent to, and which of them. This folder owns webhooks, their secrets, and every
 * delivery to them. It does not say what happens in popbridge: events are announced to it; and it does not build their bodies.
 */
export interface WebhookRef {
  tenant: string;
  id: string;
}

/** What the owner says. */
export interface WebhookSettings {
  url: string;
  /** For people; popbridge makes nothing of it. */
  description: string | null;
  /** Types of events; `*` stands for all, `message.*` for all of messages. */
  events: readonly string[];
  /** Null: events of all mailboxes, and of none. */
  mailboxes: readonly string[] | null;
  payload: 'thin' | 'full';
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

/** Without anything secret. Times are ISO 8601. */
export interface Webhook extends WebhookRef {
  settings: WebhookSettings;
  headerNames: readonly string[];
  /** `whpk_` and base64; null without Ed25519. */
  publicKey: string | null;
  /** Of each secret, the newest first; null where it has no end. */
  secretsValidUntil: readonly (string | null)[];
  /** Null: it is enabled. */
  disabled: Disabled | null;
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
  /** PKCS #8 in base64; null without Ed25519. */
  ed25519Key: string | null;
  /** Extra headers: some gateways want a token in them. */
  headers: Readonly<Record<string, string>>;
}

/** Whether the webhook wants the event. */
export function wantsEvent(
  { events, mailboxes }: Pick<WebhookSettings, 'events' | 'mailboxes'>,
  { type, mailboxId }: { type: string; mailboxId: string | null },
): boolean {
  if (mailboxes !== null && (mailboxId === null || !mailboxes.includes(mailboxId))) return false;
  return events.some(
    (pattern) =>
      pattern === '*' || pattern === type || (pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1))),
  );
}
