/**
 * What all workers together ask of one upstream host: how many connections at once, how many logins a second, and nothing for
 * a while from a port that does not answer. A session takes a slot before it connects, renews it as it renews its lease, and
 * gives it back; the slot of a worker that dies frees itself.
 *
 * Who is refused is told when to ask again, and holds nothing meanwhile. Tenants take turns: a slot that is free is kept for
 * those who wait and hold fewer, or the same and have waited longer. It limits nothing by worker: that is `tenant-share.ts`.
 */
import type { RedisClient } from '../redis/client.ts';
import { hostKeys } from '../redis/keys.ts';
import { slotKeyOf, type HostLimits } from './host-limits.ts';
import { acquireSlot, noteAnswer, releaseSlot, renewSlot } from './host-slot-scripts.ts';
import { leaseTtlMs } from './limits.ts';

/** Who asks, and for what. */
export interface SlotRequest {
  tenant: string;
  host: string;
  port: number;
  /** Unique to this attempt; without spaces. */
  owner: string;
  /** Asked again no sooner than after this, where there is none. */
  waitMsMin: number;
}

export interface HostSlot {
  /** False when its time was over: another may have it by now. */
  renew(): Promise<boolean>;
  /** Says whether a connection came about, or timed out: that is what ends the pause of a port, or begins it. */
  noteAnswer(hasAnswered: boolean): Promise<void>;
  release(): Promise<void>;
}

export interface Busy {
  retryAfterMs: number;
  /** Not busy but silent: the last connections to this port have timed out. */
  isSilent: boolean;
}

export interface HostSlots {
  acquire(request: SlotRequest): Promise<HostSlot | Busy>;
}

export interface HostSlotsOptions {
  limitsOf(slotKey: string): HostLimits;
  /** From 0 to 1. */
  random(): number;
  /** Epoch milliseconds in place of Redis's own clock, by which all workers go: for tests, which own the time. */
  now?(): number;
}

export function isBusy(answer: HostSlot | Busy): answer is Busy {
  return 'retryAfterMs' in answer;
}

export function createHostSlots(redis: RedisClient, options: HostSlotsOptions): HostSlots {
  const { limitsOf, random } = options;
  const now = (): number | '' => options.now?.() ?? '';

  return {
    async acquire({ tenant, host, port, owner, waitMsMin }) {
      const slotKey = slotKeyOf(host);
      const keys = hostKeys(slotKey);
      const { connections, loginsPerSecond } = limitsOf(slotKey);
      const [granted, figure, isSilent] = (await acquireSlot(
        redis,
        [keys.slots, keys.waiting, keys.turns, keys.state],
        [now(), owner, tenant, port, connections, loginsPerSecond, leaseTtlMs, waitMsMin, random()],
      )) as [granted: number, figure: number, isSilent: number];
      if (granted === 0) {
        // A little later than it says, each by something else, so that those who were told together do not come together.
        return { retryAfterMs: Math.ceil(figure * (1 + random() / 10)), isSilent: isSilent === 1 };
      }
      const failures = figure;
      const member = `${owner} ${tenant}`;
      return {
        renew: async () => (await renewSlot(redis, [keys.slots], [now(), member, leaseTtlMs])) === 1,
        async noteAnswer(hasAnswered) {
          // The common case costs nothing.
          if (hasAnswered && failures === 0) return;
          await noteAnswer(redis, [keys.state], [now(), port, hasAnswered ? 1 : 0, failures]);
        },
        async release() {
          await releaseSlot(redis, [keys.slots], [member]);
        },
      };
    },
  };
}
