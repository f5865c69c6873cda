/**
 * The share of a queue's worker that a tenant may take up: all of it while nobody else waits, and an equal part of it while
 * others do. Beyond that its jobs step aside, so that those behind them in the queue come to the front.
 *
 * Each worker goes by what it runs itself, by who waits in the queue at that moment, and by whom it has sent aside: nothing is
 * kept that could be wrong after a crash. What is asked of a host is `host-slots.ts`.
 */
import { busyWaitMs } from './busy-wait.ts';
import { asideMsMax, asideMsMin, asideSpacingMs, waitingTenantsMs } from './limits.ts';

export interface TenantShare {
  /** @param ageMs since the job was added. Whoever is let in calls `leave` when it is through. */
  enter(tenant: string, ageMs: number): Promise<{ leave(): void } | { retryAfterMs: number }>;
}

export interface TenantShareOptions {
  /** Jobs that the worker runs at once. */
  capacity: number;
  /** Tenants whose jobs wait in the queue. */
  waitingTenants(): Promise<ReadonlySet<string>>;
  clock: { now(): number };
}

export function createTenantShare({ capacity, waitingTenants, clock }: TenantShareOptions): TenantShare {
  const running = new Map<string, number>();
  /** Who was sent aside, by when the last of its jobs comes back. */
  const aside = new Map<string, number>();
  let latest: string | null = null;
  let known: { waiting: Promise<ReadonlySet<string>>; untilMs: number } | null = null;

  /** As it was at most a moment ago: a busy worker asks once for many jobs. */
  function whoWaits(): Promise<ReadonlySet<string>> {
    const nowMs = clock.now();
    if (known && known.untilMs > nowMs) return known.waiting;
    const waiting = waitingTenants();
    known = { waiting, untilMs: nowMs + waitingTenantsMs };
    waiting.catch(() => (known = null));
    return waiting;
  }

  function isOver(tenant: string, waiting: ReadonlySet<string>): boolean {
    const nowMs = clock.now();
    for (const [name, untilMs] of aside) if (untilMs <= nowMs) aside.delete(name);
    const contenders = new Set([tenant, ...waiting, ...aside.keys()]);
    if (contenders.size === 1) return false;
    for (const name of running.keys()) contenders.add(name);
    const share = Math.ceil(capacity / contenders.size);
    // With more tenants than places, whoever came last would otherwise be the next as well.
    const isTwiceInTurn =
      contenders.size > capacity && latest === tenant && waiting.size > (waiting.has(tenant) ? 1 : 0);
    return (running.get(tenant) ?? 0) >= share || isTwiceInTurn;
  }

  function sendAside(tenant: string, ageMs: number): { retryAfterMs: number } {
    const nowMs = clock.now();
    const next = Math.max(nowMs + asideMsMin, (aside.get(tenant) ?? 0) + asideSpacingMs);
    const lineMs = Math.min(next, nowMs + asideMsMax);
    aside.set(tenant, lineMs);
    return { retryAfterMs: Math.max(lineMs - nowMs, busyWaitMs(ageMs)) };
  }

  return {
    async enter(tenant, ageMs) {
      // Who runs nothing here has a place, whoever waits.
      const isNew = !running.has(tenant) && latest !== tenant;
      if (!isNew && isOver(tenant, await whoWaits())) return sendAside(tenant, ageMs);
      running.set(tenant, (running.get(tenant) ?? 0) + 1);
      latest = tenant;
      return {
        leave() {
          const left = (running.get(tenant) ?? 1) - 1;
          if (left > 0) running.set(tenant, left);
          else running.delete(tenant);
        },
      };
    },
  };
}
