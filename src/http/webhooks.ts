/** `/v1/webhooks`: what the contract says of it, in terms of the webhook domain. */
import type { components } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { TestDelivery } from '../webhook/trial.ts';
import type { Webhook, WebhookRef, WebhookSettings } from '../webhook/webhook.ts';
import type { WebhookService } from '../webhook/webhook-service.ts';
import type { Call, Handlers } from './route.ts';
import { checkTypes } from './type-patterns.ts';

type WebhookBody = components['schemas']['Webhook'];

export interface WebhookPorts {
  subscriptions: WebhookService;
  /** Null where there is no such webhook. */
  testWebhook(ref: WebhookRef): Promise<TestDelivery | null>;
  /** What it has missed while popbridge had it disabled. */
  countMissed(ref: WebhookRef): Promise<number>;
  clock: { now(): number };
}

type CallOfOne = Pick<Call<'getWebhook'>, 'principal' | 'path'>;

type WebhookHandlers = Pick<
  Handlers,
  | 'createWebhook'
  | 'listWebhooks'
  | 'getWebhook'
  | 'updateWebhook'
  | 'deleteWebhook'
  | 'rotateWebhookSecret'
  | 'testWebhook'
>;

export function webhookHandlers({ subscriptions, testWebhook, countMissed, clock }: WebhookPorts): WebhookHandlers {
  const toBody = async (webhook: Webhook): Promise<WebhookBody> =>
    render(webhook, await countMissed(webhook), clock.now());
  const refOf = ({ principal, path }: CallOfOne) => ({ tenant: principal.tenant, id: path.webhookId });

  return {
    async createWebhook({ body, principal }) {
      const { headers, disabled, ...settings } = body;
      checkEvents(settings);
      const { webhook, secret } = await subscriptions.create(principal.tenant, {
        settings: toSettings(settings) as WebhookSettings,
        headers,
        isDisabled: disabled,
      });
      const location = `/v1/webhooks/${webhook.id}`;
      return { status: 201, headers: { location }, body: { webhook: await toBody(webhook), secret } };
    },

    async listWebhooks({ principal, query }) {
      const { limit = 25, cursor = null } = query;
      const { items, next } = await subscriptions.list(principal.tenant, cursor, limit);
      return { status: 200, body: { items: await Promise.all(items.map(toBody)), nextCursor: next } };
    },

    async getWebhook(call) {
      const webhook = await subscriptions.find(refOf(call));
      if (!webhook) throw noWebhook(call.path.webhookId);
      return { status: 200, body: await toBody(webhook) };
    },

    async updateWebhook(call) {
      const { headers, disabled, ...settings } = call.body;
      checkEvents(settings);
      const changed = await subscriptions.change(refOf(call), {
        settings: toSettings(settings),
        ...(headers !== undefined && { headers }),
        ...(disabled !== undefined && { isDisabled: disabled }),
      });
      if (!changed) throw noWebhook(call.path.webhookId);
      return { status: 200, body: await toBody(changed) };
    },

    async deleteWebhook(call) {
      if (!(await subscriptions.delete(refOf(call)))) throw noWebhook(call.path.webhookId);
      return new Response(null, { status: 204 });
    },

    async testWebhook(call) {
      const tested = await testWebhook(refOf(call));
      if (!tested) throw noWebhook(call.path.webhookId);
      return { status: 200, body: { acknowledged: tested.isAcknowledged, attempt: tested.attempt } };
    },

    async rotateWebhookSecret(call) {
      const rotated = await subscriptions.rotateSecret(refOf(call), call.body.overlapSeconds * 1000, call.body.ed25519);
      if (!rotated) throw noWebhook(call.path.webhookId);
      return { status: 200, body: { webhook: await toBody(rotated.webhook), secret: rotated.secret } };
    },
  };
}

/** @throws AppError `invalid_request`. */
function checkEvents({ events = [] }: { events?: readonly string[] | undefined }): void {
  checkTypes(events, 'body', 'events');
}

/** What is given, in the domain's names. */
function toSettings({
  timeoutSeconds,
  ordered,
  ed25519,
  ...settings
}: Omit<components['schemas']['WebhookChange'], 'headers' | 'disabled'>): Partial<WebhookSettings> {
  return {
    ...settings,
    ...(timeoutSeconds !== undefined && { timeoutMs: timeoutSeconds * 1000 }),
    ...(ordered !== undefined && { isOrdered: ordered }),
    ...(ed25519 !== undefined && { hasEd25519: ed25519 }),
  };
}

function render({ id, settings, disabled, ...webhook }: Webhook, missed: number, nowMs: number): WebhookBody {
  const { timeoutMs, isOrdered, hasEd25519, ...rest } = settings;
  const { headerNames, publicKey, secretsValidUntil, createdAt, updatedAt } = webhook;
  return {
    id,
    ...rest,
    headerNames,
    timeoutSeconds: timeoutMs / 1000,
    ordered: isOrdered,
    ed25519: hasEd25519,
    disabled: disabled !== null,
    disabledReason: disabled?.reason ?? null,
    disabledAt: disabled?.at ?? null,
    missed,
    publicKey,
    secretsValidUntil: secretsValidUntil.filter((until) => until === null || Date.parse(until) > nowMs),
    createdAt,
    updatedAt,
  };
}

export function noWebhook(id: string): AppError {
  return new AppError('not_found', `There is no webhook ${id}, or no longer.`);
}
