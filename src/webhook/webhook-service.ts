/** Webhooks as the API sees them: create, look at, change, delete, other secrets. It checks and records; it sends nothing. */
import { AppError } from '../errors.ts';
import { webhookId } from '../identity.ts';
import type { DeliveryStore } from './delivery-store.ts';
import type { DueWebhooks } from './due-webhooks.ts';
import { checkExtraHeaders } from './extra-headers.ts';
import { makeEd25519Key, makeSecret, publicKeyOf, rotateSecrets } from './secrets.ts';
import type { Webhook, WebhookRef, WebhookSecret, WebhookSecrets, WebhookSettings } from './webhook.ts';
import type { WebhookStore } from './webhook-store.ts';

export interface NewWebhook {
  settings: WebhookSettings;
  headers: Readonly<Record<string, string>>;
  isDisabled: boolean;
}

/** What is given is changed. */
export interface WebhookChange {
  settings: Partial<WebhookSettings>;
  headers?: Readonly<Record<string, string>>;
  isDisabled?: boolean;
}

export interface WebhookServicePorts {
  clock: { now(): number };
  random(bytes: number): Buffer;
  webhooks: WebhookStore;
  deliveries: Pick<DeliveryStore, 'forget'>;
  due: Pick<DueWebhooks, 'wake'>;
  /** @throws AppError `egress_blocked`. */
  checkUrl(url: string): unknown;
}

export interface WebhookService {
  /** The secret is shown this once. @throws AppError `egress_blocked`, `invalid_request`, `conflict`. */
  create(tenant: string, wanted: NewWebhook): Promise<{ webhook: Webhook; secret: string }>;
  find(ref: WebhookRef): Promise<Webhook | null>;
  /** In the order of their ids, from behind `after`. */
  list(tenant: string, after: string | null, limit: number): Promise<{ items: Webhook[]; next: string | null }>;
  /** Null where there is none. @throws AppError as `create`. */
  change(ref: WebhookRef, change: WebhookChange): Promise<Webhook | null>;
  /**
   * Earlier secrets sign for `overlapMs` at most. Null where there is no such webhook.
   * @param hasEd25519 another Ed25519 key as well.
   * @throws AppError `conflict` where it has no such key.
   */
  rotateSecret(
    ref: WebhookRef,
    overlapMs: number,
    hasEd25519: boolean,
  ): Promise<{ webhook: Webhook; secret: string } | null>;
  delete(ref: WebhookRef): Promise<boolean>;
}

export function createWebhookService(ports: WebhookServicePorts): WebhookService {
  const { clock, random, webhooks } = ports;

  return {
    async create(tenant, { settings, headers, isDisabled }) {
      ports.checkUrl(settings.url);
      checkExtraHeaders(headers);
      const nowMs = clock.now();
      const now = new Date(nowMs).toISOString();
      const secret = makeSecret(random);
      const secrets: WebhookSecrets = {
        secrets: [{ secret, validUntil: null }],
        ed25519Keys: settings.hasEd25519 ? [makeKey()] : [],
        headers,
      };
      const webhook = withFacts(
        {
          tenant,
          id: webhookId(nowMs, random),
          settings,
          disabled: isDisabled ? { reason: 'owner', at: now } : null,
          createdAt: now,
          updatedAt: now,
        },
        secrets,
      );
      await webhooks.create(webhook, secrets);
      return { webhook, secret };
    },
    find: webhooks.find,
    async list(tenant, after, limit) {
      const all = (await webhooks.list(tenant)).filter(({ id }) => after === null || id > after);
      const items = all.slice(0, limit);
      return { items, next: all.length > limit ? (items.at(-1)?.id ?? null) : null };
    },
    async change(ref, { settings: wanted, headers, isDisabled }) {
      let isEnabled = false;
      const changed = await webhooks.change(ref, async (known, open) => {
        isEnabled = isDisabled === false && known.disabled !== null;
        const settings = { ...known.settings, ...wanted };
        ports.checkUrl(settings.url);
        if (headers) checkExtraHeaders(headers);
        const was = await open();
        // A key that was made stays: whoever has its public half need not get another.
        const isMissing = settings.hasEd25519 && was.ed25519Keys.length === 0;
        const ed25519Keys = isMissing ? [makeKey()] : was.ed25519Keys;
        const secrets = { ...was, ed25519Keys, ...(headers && { headers }) };
        const now = new Date(clock.now()).toISOString();
        const disabled = isDisabled === true ? (known.disabled ?? { reason: 'owner' as const, at: now }) : null;
        return {
          webhook: withFacts(
            {
              ...known,
              settings,
              disabled: isDisabled === undefined ? known.disabled : disabled,
              // From then on it starts anew: whoever delivers to it goes by this.
              ...(isEnabled && { enabledAt: now }),
              updatedAt: now,
            },
            secrets,
          ),
          secrets,
        };
      });
      if (changed && isEnabled) await ports.due.wake(ref, clock.now());
      return changed;
    },
    async rotateSecret(ref, overlapMs, hasEd25519) {
      const secret = makeSecret(random);
      const webhook = await webhooks.change(ref, async (known, open) => {
        const was = await open();
        if (hasEd25519 && !known.settings.hasEd25519) throw noEd25519();
        const nowMs = clock.now();
        const secrets = {
          ...was,
          secrets: rotateSecrets(was.secrets, secret, overlapMs, nowMs),
          ...(hasEd25519 && { ed25519Keys: rotateSecrets(was.ed25519Keys, makeEd25519Key(), overlapMs, nowMs) }),
        };
        return { webhook: withFacts({ ...known, updatedAt: new Date(nowMs).toISOString() }, secrets), secrets };
      });
      return webhook && { webhook, secret };
    },
    async delete(ref) {
      const isGone = await webhooks.delete(ref);
      await ports.deliveries.forget(ref);
      return isGone;
    },
  };
}

/** What may be shown of its secrets is kept in clear text. */
function withFacts(
  webhook: Omit<Webhook, 'headerNames' | 'publicKey' | 'secretsValidUntil'>,
  { secrets, ed25519Keys, headers }: WebhookSecrets,
): Webhook {
  const [key] = ed25519Keys;
  return {
    ...webhook,
    headerNames: Object.keys(headers),
    publicKey: webhook.settings.hasEd25519 && key ? publicKeyOf(key.secret) : null,
    secretsValidUntil: secrets.map(({ validUntil }) => validUntil),
  };
}

function makeKey(): WebhookSecret {
  return { secret: makeEd25519Key(), validUntil: null };
}

function noEd25519(): AppError {
  return new AppError(
    'conflict',
    'The webhook has no Ed25519 key to change. Give it one first: PATCH with `"ed25519": true`.',
  );
}
