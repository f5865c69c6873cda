/**
 * Delivers to one webhook what is due to it, for as long as there is something: within its concurrency, its rate, its order and what its
 * health admits. One worker at a time does so, which is why none of this needs counting in Redis.
 */
import type { Logger } from 'pino';
import { gatherBy } from '../redis/gather.ts';
import { attempt, end, type AttemptPorts, type Attempted } from './attempt.ts';
import type { Delivery } from './delivery-record.ts';
import type { DeliveryStore, DueDelivery } from './delivery-store.ts';
import { admit, noteFault, noteResult, paceMs, sinceEnabled, type Health } from './health.ts';
import type { Lanes, Place, WantedPlace } from './lanes.ts';
import {
  drainerRenewMs,
  drainEveryMs,
  drainEveryMsMax,
  faultDelayMs,
  listedMax,
  listedMin,
  unrecordedMax,
} from './limits.ts';
import { disable, tellDisabled, tellExhausted, tellFailing, tellRecovery, type NoticePorts } from './notices.ts';
import { countedAs, type DeliveryOutcome } from './outcome.ts';
import { deliverySpan } from './traced.ts';
import { untraced, type Trace } from '../trace.ts';
import { isGivenUp, isStopped } from './webhook.ts';
import type { Disabled, Endpoint, Endpoints, WebhookRef, WebhookSecrets } from './webhook.ts';

export interface DrainPorts extends AttemptPorts, NoticePorts {
  clock: { now(): number; sleep(ms: number): Promise<void> };
  webhooks: Endpoints;
  deliveries: DeliveryStore;
  lanes: Lanes;
  /** Each resolves for all deliveries of the process that wait for it at once: to give their places to others, and to be put on record. */
  beats: { leave(): Promise<void>; record(): Promise<void> };
  trace?: Trace;
  /** An attempt has ended; `dropped`: there was nothing left to send. */
  observeDelivery?(outcome: DeliveryOutcome, ms: number): void;
  /** The webhook has acknowledged it. Called again where that may not have come to its end. */
  onDelivered(delivery: Delivery): Promise<void>;
  uniqueId(): string;
  logger: Logger;
}

/** When the next delivery is due, in epoch milliseconds; null where there is none; `busy` where another worker has the webhook. */
export type DrainEnd = number | null | 'busy';

/** @param signal no new attempts; those under way are waited for. @throws what Redis throws. */
export async function drainWebhook(ports: DrainPorts, ref: WebhookRef, signal: AbortSignal): Promise<DrainEnd> {
  const owner = ports.uniqueId();
  if (!(await ports.deliveries.take(ref, owner))) return 'busy';
  return new Drain(ports, ref, owner, signal).run();
}

class Drain {
  readonly #ports: DrainPorts;
  readonly #ref: WebhookRef;
  readonly #owner: string;
  readonly #signal: AbortSignal;
  /** Begun, and not on record yet; by member. */
  readonly #running = new Map<string, Promise<void>>();
  /** Of these, those that have no answer yet. */
  #sending = 0;
  /** Listed as due, and not begun. */
  #waiting: DueDelivery[] = [];
  /** As of when it was listed, nothing else was due. */
  #isAllListed = false;
  /** Deliveries that were begun since: as many more are listed the next time. At first, as if some had been. */
  #begun = listedMin;
  /** The webhook, as it was read; null where it is gone. */
  #known: { webhook: Endpoint; secrets: WebhookSecrets } | null = null;
  #version: string | null = null;
  /** That it is disabled, as far as that was told of. */
  #toldOf: Disabled | null = null;
  /** When it was last looked at, by the clock that only goes forward. */
  #readMs = -Infinity;
  /** There was no room for an attempt; or there is by now. */
  #wanted: WantedPlace | null = null;
  #place: Place | null = null;
  /** Something has happened that the loop is to look at. */
  #hasNews = false;
  #news = Promise.withResolvers<void>();
  #pause: Promise<void> | null = null;
  #pauseMs = drainEveryMs;
  #health!: Health;
  #renewedMs: number;
  /** Another worker has taken over. */
  #isLost = false;

  constructor(ports: DrainPorts, ref: WebhookRef, owner: string, signal: AbortSignal) {
    this.#ports = ports;
    this.#ref = ref;
    this.#owner = owner;
    this.#signal = signal;
    this.#renewedMs = ports.clock.now();
  }

  async run(): Promise<DrainEnd> {
    try {
      return await this.#run();
    } finally {
      this.#leaveLine();
      this.#leavePlace();
    }
  }

  async #run(): Promise<DrainEnd> {
    const { clock, webhooks, deliveries } = this.#ports;
    this.#health = await deliveries.readHealth(this.#ref);
    for (;;) {
      this.#hasNews = false;
      // What its owner changes holds for what is sent a moment later. While it waits in line nothing is.
      const isToRead = this.#wanted === null || this.#readMs === -Infinity;
      if (isToRead && performance.now() - this.#readMs >= drainEveryMs) {
        this.#readMs = performance.now();
        await this.#read();
        this.#isAllListed = false;
      }
      if (!this.#known) {
        await this.#settle();
        await deliveries.forget(this.#ref);
        await webhooks.noteBreaker(this.#ref, false);
        return null;
      }
      const { webhook, secrets } = this.#known;
      if (isStopped(webhook)) await this.#tellDisabled(webhook);
      const isOver = isStopped(webhook) || this.#signal.aborted || this.#isLost;
      const waitMs = isOver ? null : await this.#start(webhook, secrets);
      this.#leavePlace();
      if (this.#running.size === 0 && (isOver || this.#wanted === null)) {
        // What waits for a moment only is waited for here.
        if (waitMs !== null && waitMs <= drainEveryMs && waitMs > 0) await clock.sleep(waitMs);
        else {
          const end = await this.#release(webhook, waitMs ?? 0);
          if (end !== 'more') return end;
          this.#isAllListed = false;
        }
      } else await this.#waitForNews(waitMs ?? 0);
      await this.#renew();
    }
  }

  async #read(): Promise<void> {
    const { webhooks } = this.#ports;
    const version = await webhooks.version(this.#ref);
    if (this.#known && version !== null && version === this.#version) return;
    const [webhook, secrets] = await Promise.all([webhooks.find(this.#ref), webhooks.openSecrets(this.#ref)]);
    this.#version = version;
    if (webhook) this.#health = sinceEnabled(this.#health, webhook.enabledAt);
    this.#known = webhook && secrets && { webhook, secrets };
  }

  /** Starts what may be started. How long to wait before more may be, as far as that is known. */
  async #start(webhook: Endpoint, secrets: WebhookSecrets): Promise<number> {
    const { clock } = this.#ports;
    const { isOrdered, concurrency, ratePerSecond } = webhook.settings;
    const allowed = isOrdered ? 1 : concurrency;
    for (;;) {
      const nowMs = clock.now();
      // What is given up ends at once, whenever it was due.
      const [dueMs, { atOnce, untilMs }] = isGivenUp(webhook)
        ? [Infinity, { atOnce: allowed, untilMs: 0 }]
        : [nowMs, admit(this.#health, allowed, nowMs)];
      if (atOnce === 0) {
        this.#leaveLine();
        return untilMs - nowMs;
      }
      // What is being put on record does not count, but there is a bound to that as well.
      const room = Math.min(atOnce - this.#sending, allowed + unrecordedMax - this.#running.size);
      if (room <= 0) return 0;
      const [due] = this.#waiting;
      if (!due) {
        if (await this.#list(dueMs, room)) continue;
        this.#leaveLine();
        return 0;
      }
      const waitMs = paceMs(this.#health, ratePerSecond, nowMs);
      if (waitMs > 0) return waitMs;
      const place = this.#takePlace();
      if (!place) return 0;
      this.#waiting.shift();
      this.#begun += 1;
      this.#pauseMs = drainEveryMs;
      this.#health = { ...this.#health, sentMs: nowMs };
      this.#sending += 1;
      let isSending = true;
      const leave = (): void => {
        if (!isSending) return;
        isSending = false;
        this.#sending -= 1;
        place.leave();
        this.#tellRoom();
      };
      const work = this.#deliver(webhook, secrets, due, leave).finally(() => {
        leave();
        this.#running.delete(due.member);
        this.#pauseMs = drainEveryMs;
        this.#tellRoom();
      });
      this.#running.set(due.member, work);
    }
  }

  /** False where nothing is due. */
  async #list(dueMs: number, room: number): Promise<boolean> {
    if (this.#isAllListed) return false;
    const max = Math.min(room + this.#begun, listedMax);
    this.#begun = 0;
    this.#waiting = await this.#ports.deliveries.listDue(this.#ref, dueMs, max, new Set(this.#running.keys()));
    this.#isAllListed = this.#waiting.length < max;
    return this.#waiting.length > 0;
  }

  /** Null where there is none: then it waits in line, and the loop is told when there is. */
  #takePlace(): Place | null {
    const given = this.#place;
    this.#place = null;
    if (given) return given;
    const { isSlow } = this.#health;
    const isFirst = this.#sending === 0;
    if (this.#wanted?.isSlow === isSlow && !(isSlow && isFirst)) return null;
    this.#leaveLine();
    const wanted: WantedPlace = {
      by: this,
      isSlow,
      isFirst,
      onSlow: () => {
        this.#health = { ...this.#health, isSlow: true };
      },
      onRoom: (found) => {
        this.#wanted = null;
        this.#place = found;
        this.#tellNews();
      },
    };
    const place = this.#ports.lanes.enter(wanted);
    if (!place) this.#wanted = wanted;
    return place;
  }

  #leaveLine(): void {
    if (this.#wanted) this.#ports.lanes.leaveLine(this.#wanted);
    this.#wanted = null;
  }

  #leavePlace(): void {
    this.#place?.leave();
    this.#place = null;
  }

  /** An attempt has come to something. Who waits in line for a place has no use for that, unless the line is another one now. */
  #tellRoom(): void {
    const isInLine = this.#wanted !== null && this.#wanted.isSlow === this.#health.isSlow;
    const isFirstOfSlow = this.#health.isSlow && this.#sending === 0;
    if (!isInLine || isFirstOfSlow || this.#running.size === 0) this.#tellNews();
  }

  #tellNews(): void {
    this.#hasNews = true;
    this.#news.resolve();
  }

  /** Until an attempt has ended or there is room for another, or it is time to look for what has become due meanwhile. */
  async #waitForNews(waitMs: number): Promise<void> {
    if (this.#hasNews) return;
    this.#news = Promise.withResolvers();
    const { clock } = this.#ports;
    if (waitMs > 0 && waitMs < this.#pauseMs) return Promise.race([this.#news.promise, clock.sleep(waitMs)]);
    this.#pause ??= clock.sleep(this.#pauseMs).finally(() => {
      this.#pause = null;
      this.#pauseMs = Math.min(this.#pauseMs * 2, drainEveryMsMax);
    });
    await Promise.race([this.#news.promise, this.#pause]);
  }

  /** Never throws. @param leave gives its place to others, once it is known what came of it. */
  async #deliver(webhook: Endpoint, secrets: WebhookSecrets, due: DueDelivery, leave: () => void): Promise<void> {
    const { beats, clock, logger } = this.#ports;
    const { event } = due.delivery;
    const ids = { tenant: webhook.tenant, webhookId: webhook.id, eventId: event.id };
    try {
      const { delivery, outcome, tookMs } = await this.#attempt(webhook, secrets, due.delivery);
      // It may have been disabled and enabled again since: what failed counts from there.
      if (outcome && outcome.kind !== 'delivered') await this.#read();
      const was = this.#health;
      if (outcome) {
        const { floorMs, slows } = outcome.kind === 'failed' ? outcome : { floorMs: 0, slows: false };
        const result = { isSuccess: outcome.kind === 'delivered', floorMs, slows, tookMs };
        this.#health = noteResult(was, result, webhook.settings.concurrency, clock.now());
        await this.#noteBreaker(was);
        await this.#tellRecovery();
        const noticed = await tellFailing(this.#ports, this.#ref, this.#health);
        if (noticed !== null) this.#health = { ...this.#health, noticed };
        if (outcome.kind === 'gone') await disable(this.#ports, this.#ref, 'gone');
        // It may have been disabled.
        if (outcome.kind === 'gone' || noticed !== null) {
          this.#readMs = -Infinity;
          this.#tellNews();
        }
        if (outcome.kind === 'failed' && delivery.state === 'failed') {
          await tellExhausted(this.#ports, this.#ref, delivery);
        }
      }
      // In order, the next one waits for the record.
      const { isOrdered } = webhook.settings;
      if (!isOrdered) await beats.leave();
      leave();
      if (!isOrdered) await beats.record();
      this.#ports.observeDelivery?.(countedAs(outcome, delivery.state), tookMs);
      if (delivery.state === 'delivered') await this.#ports.onDelivered(delivery);
      await this.#record({ ...due, delivery });
      logger.debug({ ...ids, outcome: outcome?.kind }, 'Delivery attempted');
    } catch (error) {
      const was = this.#health;
      this.#health = noteFault(was, clock.now());
      if (this.#health !== was) logger.error({ err: error, ...ids }, 'Delivery put off by a fault of ours');
      await this.#putOff(due).catch(() => clock.sleep(faultDelayMs));
    }
  }

  async #putOff({ member }: DueDelivery): Promise<void> {
    const { clock, deliveries } = this.#ports;
    const nowMs = clock.now();
    await deliveries.putOff(this.#ref, member, nowMs + faultDelayMs);
    await deliveries.record(this.#ref, this.#owner, [], this.#health, nowMs);
  }

  /** Before this webhook is let go: what cannot be told now is told by whoever takes it up when the claim has run out. */
  async #tellDisabled({ disabled }: Endpoint): Promise<void> {
    if (!disabled || disabled.at === this.#toldOf?.at) return;
    await tellDisabled(this.#ports, this.#ref, disabled, this.#health);
    this.#toldOf = disabled;
  }

  /** It is known as not told of until it is: then the delivery that could not tell it is made again, and others come before it. */
  async #tellRecovery(): Promise<void> {
    const { recovery } = this.#health;
    if (!recovery) return;
    await tellRecovery(this.#ports, this.#ref, recovery);
    if (this.#health.recovery === recovery) this.#health = { ...this.#health, recovery: null };
  }

  async #noteBreaker(was: Health): Promise<void> {
    const isOpen = this.#health.openUntilMs !== null;
    if (isOpen !== (was.openUntilMs !== null)) await this.#ports.webhooks.noteBreaker(this.#ref, isOpen);
  }

  async #attempt(webhook: Endpoint, secrets: WebhookSecrets, delivery: Delivery): Promise<Attempted> {
    if (isGivenUp(webhook)) return { delivery: end(delivery, 'failed'), outcome: null, tookMs: 0 };
    const { trace = untraced } = this.#ports;
    return trace.span(deliverySpan(delivery.event, webhook.id), () => attempt(this.#ports, webhook, secrets, delivery));
  }

  /** With all others that have come to that at once. */
  readonly #record = gatherBy<DueDelivery>(
    () => '',
    async (attempted) => {
      const { clock, deliveries } = this.#ports;
      if (!(await deliveries.record(this.#ref, this.#owner, attempted, this.#health, clock.now()))) this.#isLost = true;
    },
  );

  async #release(webhook: Endpoint, waitMs: number): Promise<number | null | 'more'> {
    const { clock, deliveries } = this.#ports;
    const nowMs = clock.now();
    const isOver = isStopped(webhook) || this.#signal.aborted || this.#isLost;
    // What is stopped has nothing more to look for, whatever is due.
    const untilMs = isOver ? nowMs + 1 : nowMs + waitMs;
    const next = await deliveries.release(this.#ref, this.#owner, nowMs, untilMs);
    return isStopped(webhook) ? null : next;
  }

  async #renew(): Promise<void> {
    const { clock, deliveries } = this.#ports;
    // A clock may be set back.
    if (Math.abs(clock.now() - this.#renewedMs) < drainerRenewMs) return;
    this.#renewedMs = clock.now();
    if (!(await deliveries.renew(this.#ref, this.#owner))) this.#isLost = true;
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#running.values());
  }
}
