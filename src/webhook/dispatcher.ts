/**
 * The webhook worker: looks for webhooks to which something is due, and delivers to each of them by itself. There is no queue of
 * deliveries in common that a slow endpoint could hold up, and nothing of a delivery but in the keys of its webhook.
 */
import type { Logger } from 'pino';
import type { DrainEnd } from './drain.ts';
import type { ClaimedWebhook, DueWebhooks } from './due-webhooks.ts';
import { drainsMax, tickEveryMs, tickFaultMs } from './limits.ts';
import type { WebhookRef } from './webhook.ts';

export interface DispatcherPorts {
  due: Pick<DueWebhooks, 'claim' | 'settle'>;
  drain(ref: WebhookRef, signal: AbortSignal): Promise<DrainEnd>;
  clock: { now(): number; sleep(ms: number, signal?: AbortSignal): Promise<void> };
  /** True for errors that say that Redis is away. */
  isStorageAway(error: unknown): boolean;
  logger: Logger;
}

export interface Dispatcher {
  isRunning(): boolean;
  /** When it last went round and had its answers from Redis, in epoch milliseconds. */
  signMs(): number;
  /** Takes nothing more up. An attempt that is still under way after `graceMs` is made again by another worker, under the same id. */
  close(graceMs: number): Promise<void>;
}

export function startDispatcher(ports: DispatcherPorts): Dispatcher {
  const { due, clock, logger } = ports;
  const stop = new AbortController();
  const draining = new Map<string, Promise<void>>();
  /** Claimed while they were still being drained: what they were woken for may be what the drain has not seen any more. */
  const passedOver = new Map<string, ClaimedWebhook>();
  /** How many of them are of each tenant. */
  const ofTenants = new Map<string, number>();
  let signMs = clock.now();

  async function drain(key: string, claimed: ClaimedWebhook): Promise<void> {
    try {
      const end = await ports.drain(claimed, stop.signal);
      // Of one that another worker has, the claim runs out, should that one have died.
      if (end !== 'busy') await due.settle(claimed, end);
      for (let later = passedOver.get(key); later; later = passedOver.get(key)) {
        passedOver.delete(key);
        await due.settle(later, clock.now());
      }
    } catch (error) {
      if (!ports.isStorageAway(error))
        logger.error({ err: error, tenant: claimed.tenant, webhookId: claimed.id }, 'Webhook left for a moment');
    } finally {
      // In one step with the last look at what was passed over.
      passedOver.delete(key);
      draining.delete(key);
      const left = (ofTenants.get(claimed.tenant) ?? 0) - 1;
      if (left > 0) ofTenants.set(claimed.tenant, left);
      else ofTenants.delete(claimed.tenant);
    }
  }

  async function look(): Promise<void> {
    const room = drainsMax - draining.size;
    if (room <= 0) return;
    for (const claimed of await due.claim(clock.now(), room)) {
      const { tenant } = claimed;
      const key = `${tenant}/${claimed.id}`;
      const ofTenant = ofTenants.get(tenant) ?? 0;
      if (draining.has(key)) {
        passedOver.set(key, claimed);
        continue;
      }
      // However many webhooks of however many tenants hang, as much as each of these has is left to the next one. The others' claims run out.
      if (ofTenant >= drainsMax - draining.size) continue;
      ofTenants.set(tenant, ofTenant + 1);
      draining.set(key, drain(key, claimed));
    }
  }

  async function lookOn(): Promise<void> {
    while (!stop.signal.aborted) {
      let pauseMs = tickEveryMs;
      try {
        await look();
        signMs = clock.now();
      } catch (error) {
        pauseMs = tickFaultMs;
        if (!ports.isStorageAway(error)) logger.error({ err: error }, 'Looking for due webhooks failed');
      }
      await clock.sleep(pauseMs, stop.signal).catch(() => undefined);
    }
  }
  const looking = lookOn();

  return {
    isRunning: () => !stop.signal.aborted,
    signMs: () => signMs,
    async close(graceMs) {
      stop.abort();
      const late = new AbortController();
      const ended = looking.then(() => Promise.all(draining.values())).finally(() => late.abort());
      await Promise.race([ended, clock.sleep(graceMs, late.signal).catch(() => undefined)]);
    },
  };
}
