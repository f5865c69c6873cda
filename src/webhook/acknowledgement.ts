/** A message that all webhooks have is done with: where its mailbox says `acknowledged`, it may be deleted upstream. */
import type { Delivery } from './delivery-record.ts';
import type { DeliveryStore } from './delivery-store.ts';
import type { WebhookStore } from './webhook-store.ts';

export interface AcknowledgementPorts {
  webhooks: Pick<WebhookStore, 'find'>;
  deliveries: Pick<DeliveryStore, 'find'>;
  /** Says that the owner is done with the message; again, as often as it is called. */
  acknowledge(tenant: string, messageId: string): Promise<unknown>;
}

/** @param delivery that was acknowledged just now, and is stored as such where there are others. */
export async function acknowledgeMessage(ports: AcknowledgementPorts, { event, others }: Delivery): Promise<void> {
  if (event.type !== 'message.received') return;
  const haveIt = await Promise.all(others.map((id) => hasIt(ports, { tenant: event.tenant, id }, event.id)));
  if (haveIt.every(Boolean)) await ports.acknowledge(event.tenant, event.subject);
}

/** A webhook that is no more asks for nothing. */
async function hasIt(
  { webhooks, deliveries }: AcknowledgementPorts,
  ref: { tenant: string; id: string },
  eventId: string,
): Promise<boolean> {
  const delivery = await deliveries.find(ref, eventId);
  return delivery?.state === 'delivered' || (await webhooks.find(ref)) === null;
}
