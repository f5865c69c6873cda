/**
 * A message that all webhooks of the tenant have is done with: where its mailbox says `acknowledged`, it may be deleted upstream. The
 * webhook of a fetch has no say in that: whoever looks into a mailbox once is not its consumer.
 */
import type { Delivery } from './delivery-record.ts';
import type { DeliveryStore } from './delivery-store.ts';
import { isOfFetch, type Endpoints } from './webhook.ts';

export interface AcknowledgementPorts {
  webhooks: Pick<Endpoints, 'find'>;
  deliveries: Pick<DeliveryStore, 'find'>;
  /** Says that the owner is done with the message; again, as often as it is called. */
  acknowledge(tenant: string, message: { id: string; mailboxId: string }): Promise<unknown>;
}

/** @param delivery that was acknowledged just now, and is stored as such where there are others. */
export async function acknowledgeMessage(ports: AcknowledgementPorts, delivery: Delivery): Promise<void> {
  const { event, others, webhookId } = delivery;
  const { type, tenant, subject, mailboxId } = event;
  if (type !== 'message.received' || mailboxId === null || isOfFetch({ id: webhookId })) return;
  const haveIt = await Promise.all(others.map((id) => hasIt(ports, { tenant, id }, event.id)));
  if (haveIt.every(Boolean)) await ports.acknowledge(tenant, { id: subject, mailboxId });
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
