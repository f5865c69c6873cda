/** Deliveries of webhooks: what the contract says of them, in terms of the webhook domain. */
import type { components } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { Delivery } from '../webhook/delivery-record.ts';
import type { DeliveryFilter, DeliveryService } from '../webhook/delivery-service.ts';
import type { Endpoints } from '../webhook/webhook.ts';
import type { Call, Handlers } from './route.ts';
import { checkType } from './type-patterns.ts';
import { noWebhook } from './webhooks.ts';

export interface DeliveryPorts {
  deliveries: DeliveryService;
  /** Also those of fetches. */
  endpoints: Pick<Endpoints, 'find'>;
}

type DeliveryHandlers = Pick<Handlers, 'listDeliveries' | 'replayDeliveries' | 'getDelivery' | 'replayDelivery'>;

export function deliveryHandlers({ deliveries, endpoints }: DeliveryPorts): DeliveryHandlers {
  const findWebhook = async ({ principal, path }: Pick<Call<'getWebhook'>, 'principal' | 'path'>) => {
    const webhook = await endpoints.find({ tenant: principal.tenant, id: path.webhookId });
    if (!webhook) throw noWebhook(path.webhookId);
    return webhook;
  };

  return {
    async listDeliveries(call) {
      const { state, limit = 25, cursor = null, ...rest } = call.query;
      checkType(rest.type, 'query');
      const filter = { ...toFilter(rest), ...(state && { states: [state] }) };
      const { items, next } = await deliveries.list(await findWebhook(call), filter, cursor, limit);
      return { status: 200, body: { items: items.map(toBody), nextCursor: next } };
    },

    async replayDeliveries(call) {
      const { states, cursor = null, ...rest } = call.body;
      checkType(rest.type, 'body');
      const filter = { ...toFilter(rest), states };
      const { replayed, next } = await deliveries.replayMany(await findWebhook(call), filter, cursor);
      return { status: 200, body: { replayed, nextCursor: next } };
    },

    async getDelivery({ principal, path }) {
      const delivery = await deliveries.find(principal.tenant, path.deliveryId);
      if (!delivery) throw noDelivery(path.deliveryId);
      return { status: 200, body: toBody(delivery) };
    },

    async replayDelivery({ principal, path }) {
      const delivery = await deliveries.replay(principal.tenant, path.deliveryId);
      if (!delivery) throw noDelivery(path.deliveryId);
      return { status: 200, body: toBody(delivery) };
    },
  };
}

function toFilter({
  type,
  since,
  until,
}: {
  type?: string | undefined;
  since?: string | undefined;
  until?: string | undefined;
}): DeliveryFilter {
  return {
    type,
    ...(since !== undefined && { sinceMs: Date.parse(since) || 0 }),
    ...(until !== undefined && { untilMs: Date.parse(until) || 0 }),
  };
}

function toBody(delivery: Delivery): components['schemas']['Delivery'] {
  const { id, webhookId, event, state, createdAt, nextAttemptAt, attempts } = delivery;
  const { id: eventId, type: eventType, subject, mailboxId } = event;
  return { id, webhookId, eventId, eventType, subject, mailboxId, state, createdAt, nextAttemptAt, attempts };
}

function noDelivery(id: string): AppError {
  return new AppError('not_found', `There is no delivery ${id}, or no longer.`);
}
