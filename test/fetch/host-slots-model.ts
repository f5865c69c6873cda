/** What `host-slots.ts` promises, in the plainest words that compute it, and a simulation of fetches that go by its answers. */
import {
  askSpacingMsMin,
  asksPerLogin,
  busyWaitMsMax,
  circuitFailuresMax,
  circuitPauseMsMax,
  circuitPauseMsMin,
  circuitProbeMs,
  circuitWindowMs,
  leaseTtlMs,
  turnGraceMs,
} from '../../src/fetch/limits.ts';
import { isBusy, type HostSlot, type HostSlots } from '../../src/fetch/host-slots.ts';
import type { HostLimits } from '../../src/fetch/host-limits.ts';

interface Waiting {
  countsUntil: number;
  turn: number;
  line: number;
}

/** For chance 0. */
export class HostModel {
  readonly #limits: HostLimits;
  #slots: { owner: string; tenant: string; until: number }[] = [];
  #waiting = new Map<string, Waiting>();
  #ports = new Map<number, { failures: number; pausedUntil: number; lastFailure: number }>();
  #tokens: number;
  #tokensAt: number | null = null;

  constructor(limits: HostLimits) {
    this.#limits = limits;
    this.#tokens = limits.loginsPerSecond;
  }

  /** How often the port had failed; or when to ask again, negative where it is left alone. */
  acquire(
    now: number,
    owner: string,
    tenant: string,
    port: number,
    wait: number,
  ): { granted: boolean; figure: number } {
    const { connections, loginsPerSecond: rate } = this.#limits;
    const spacing = Math.max(askSpacingMsMin, 1000 / rate / asksPerLogin);
    const circuit = this.#ports.get(port);
    const isOpen = circuit !== undefined && circuit.failures >= circuitFailuresMax;
    if (isOpen && circuit.pausedUntil > now) {
      return { granted: false, figure: -Math.ceil(Math.max(wait, circuit.pausedUntil - now)) };
    }
    this.#slots = this.#slots.filter(({ until }) => until > now);
    for (const [name, { countsUntil }] of this.#waiting) if (countsUntil <= now) this.#waiting.delete(name);

    const tokens = Math.min(rate, this.#tokens + ((now - (this.#tokensAt ?? now)) * rate) / 1000);
    const room = Math.min(connections - this.#slots.length, Math.floor(tokens + 0.001));
    const held = (name: string): number => this.#slots.filter((slot) => slot.tenant === name).length;
    const own = this.#waiting.get(tenant);
    const turn = own?.turn ?? now;
    const ahead = [...this.#waiting].filter(
      ([name, other]) =>
        name !== tenant && (held(name) < held(tenant) || (held(name) === held(tenant) && other.turn < turn)),
    ).length;

    const line = own?.line ?? 0;
    const countsUntil = Math.max(own?.countsUntil ?? 0, now + Math.max(wait * 1.1, spacing) + turnGraceMs);
    if (ahead < room) {
      this.#slots.push({ owner, tenant, until: now + leaseTtlMs });
      this.#tokens = tokens - 1;
      this.#tokensAt = now;
      if (isOpen) circuit.pausedUntil = now + circuitProbeMs;
      if (line > now) this.#waiting.set(tenant, { countsUntil, turn: now, line });
      else this.#waiting.delete(tenant);
      return { granted: true, figure: circuit?.failures ?? 0 };
    }
    const place = Math.max(now + wait, now + ((1 - tokens) * 1000) / rate, line + spacing);
    const told = place > now + busyWaitMsMax ? now + busyWaitMsMax / 2 : place;
    this.#waiting.set(tenant, { countsUntil, turn, line: Math.min(now + busyWaitMsMax, Math.max(line, told)) });
    return { granted: false, figure: Math.ceil(told - now) };
  }

  renew(now: number, owner: string): boolean {
    const slot = this.#slots.find((one) => one.owner === owner);
    if (slot) slot.until = now + leaseTtlMs;
    return slot !== undefined;
  }

  release(owner: string): void {
    this.#slots = this.#slots.filter((one) => one.owner !== owner);
  }

  noteAnswer(now: number, port: number, hasAnswered: boolean, failuresThen: number): void {
    if (hasAnswered) {
      if (failuresThen > 0) this.#ports.delete(port);
      return;
    }
    const circuit = this.#ports.get(port) ?? { failures: 0, pausedUntil: 0, lastFailure: 0 };
    const isOpen = circuit.failures >= circuitFailuresMax;
    if (isOpen && failuresThen < circuitFailuresMax) return;
    if (!isOpen && now - circuit.lastFailure > circuitWindowMs) circuit.failures = 0;
    circuit.failures += 1;
    circuit.lastFailure = now;
    const isPaused = circuit.failures >= circuitFailuresMax;
    const pause = isPaused ? circuitPauseMsMin * 2 ** (circuit.failures - circuitFailuresMax) : 0;
    circuit.pausedUntil = now + Math.min(pause, circuitPauseMsMax);
    this.#ports.set(port, circuit);
  }

  open(now: number): number {
    return this.#slots.filter(({ until }) => until > now).length;
  }
}

export interface SimulatedFetch {
  tenant: string;
  /** When it first asks, and how long its session lasts. */
  atMs: number;
  lastsMs: number;
}

export interface Simulated {
  tenant: string;
  firstAskMs: number;
  grantedMs: number;
  asks: number;
}

/** All of them until each has had its session, in time that passes by itself. In the order in which they were let in. */
export async function simulate(
  clock: { nowMs: number },
  hosts: HostSlots,
  fetches: readonly SimulatedFetch[],
): Promise<Simulated[]> {
  const done: Simulated[] = [];
  type Due = { atMs: number; order: number; act(): Promise<void> };
  const due: Due[] = [];
  let order = 0;
  const at = (atMs: number, act: () => Promise<void>): void => void due.push({ atMs, order: (order += 1), act });
  const startMs = clock.nowMs;
  for (const [number, { tenant, atMs, lastsMs }] of fetches.entries()) {
    let asks = 0;
    const ask = async (): Promise<void> => {
      asks += 1;
      const request = { tenant, host: 'pop.example.com', port: 995, owner: `owner-${number}`, waitMsMin: 100 };
      const slot = await hosts.acquire(request);
      if (isBusy(slot)) return at(clock.nowMs + slot.retryAfterMs, ask);
      done.push({ tenant, firstAskMs: startMs + atMs, grantedMs: clock.nowMs, asks });
      endLater(slot, clock.nowMs + lastsMs);
    };
    at(startMs + atMs, ask);
  }
  function endLater(slot: HostSlot, untilMs: number): void {
    const beatMs = Math.min(untilMs, clock.nowMs + leaseTtlMs / 2);
    at(beatMs, async () => {
      if (beatMs === untilMs) return slot.release();
      await slot.renew();
      endLater(slot, untilMs);
    });
  }
  while (due.length > 0) {
    due.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    const next = due.shift()!;
    clock.nowMs = Math.max(clock.nowMs, next.atMs);
    await next.act();
  }
  return done;
}
