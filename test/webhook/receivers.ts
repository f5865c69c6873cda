import { afterEach } from 'vitest';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';

type Receive = (options?: Parameters<typeof startWebhookReceiver>[0]) => Promise<WebhookReceiver>;

/** Starts receivers, each of which ends with its test. */
export function useReceivers(): Receive {
  const receivers: WebhookReceiver[] = [];
  afterEach(async () => {
    for (const receiver of receivers.splice(0)) await receiver.close();
  });
  return async (options) => {
    const receiver = await startWebhookReceiver(options);
    receivers.push(receiver);
    return receiver;
  };
}
