/**
 * A message that all webhooks of the tenant have is done with: where its mailbox says `acknowledged`, it may be deleted upstream. The
 * webhook of a fetch has no say in that: whoever looks into a mailbox once is not its consumer.
 */
import type { EventRef } from '../event/event.ts';
import type { Awaited } from './awaited.ts';
import type { Delivery } from './delivery-record.ts';
import { isOfFetch, type Endpoints } from './webhook.ts';

export interface AcknowledgementPorts {
  webhooks: Pick<Endpoints, 'find'>;
  awaited: Pick<Awaited, 'acknowledge'>;
  /** Says that the owner is done with the message; again, as often as it is called. */
  acknowledge(tenant: string, message: { id: string; mailboxId: string }): Promise<unknown>;
}

/** Whether the event is of a message that counts as acknowledged once all that are told of it have it. */
export function isToAcknowledge(event: EventRef): event is EventRef & { mailboxId: string } {
  return event.type === 'message.received' && event.mailboxId !== null;
}

/** @param delivery that was acknowledged just now; again, as often as it is. */
export async function acknowledgeMessage(ports: AcknowledgementPorts, delivery: Delivery): Promise<void> {
  const { event, isShared, webhookId } = delivery;
  if (!isToAcknowledge(event) || isOfFetch({ id: webhookId })) return;
  const { tenant, subject, mailboxId } = event;
  if (isShared && (await isAwaited(ports, event, webhookId))) return;
  await ports.acknowledge(tenant, { id: subject, mailboxId });
}

/** By others. A webhook that is no more asks for nothing; and where it is not known who has it, somebody may not. */
async function isAwaited(
  { webhooks, awaited }: AcknowledgementPorts,
  { tenant, id }: EventRef,
  webhookId: string,
): Promise<boolean> {
  const left = await awaited.acknowledge(tenant, id, webhookId);
  if (left === null) return true;
  const found = await Promise.all(left.map(async (other) => webhooks.find({ tenant, id: other })));
  return found.some((webhook) => webhook !== null);
}
