/**
 * The tick: takes from the due index what is due and adds it to the fetch queues, shard by shard, in batches. Every worker runs
 * one. They share the shards by short turns, and a worker that dies in its turn is replaced when that runs out. A queue that is
 * long enough gets no more: what is due waits in the index, the longest overdue first. Knows no queue, and runs no fetch.
 */
import type { Logger } from 'pino';
import type { DueIndex, DueMailbox } from './due-index.ts';
import { claimMailboxesMax, mailboxShards, queueJobsMax, tickEveryMs, tickFaultMs } from './limits.ts';

export interface TickPorts {
  due: Pick<DueIndex, 'oldest' | 'claim' | 'takeTurn' | 'endTurn'>;
  queues: {
    /** Jobs that wait to be taken up, without those that are put off. */
    countWaiting(shard: number): Promise<number>;
    /** Adds a job for each mailbox that has none. */
    add(shard: number, mailboxes: readonly DueMailbox[]): Promise<void>;
  };
  clock: {
    now(): number;
    /** Ends early, either way, when the signal comes. */
    sleep(ms: number, signal: AbortSignal): Promise<void>;
  };
  /** From 0 to 1. */
  random(): number;
  /** Unique to this process. */
  owner: string;
  /** Called for each mailbox with how long it had been due when its job was added. */
  observeLag?(lagMs: number): void;
  /** True for errors that say that Redis is away. */
  isStorageAway(error: unknown): boolean;
  logger: Logger;
}

export interface Ticker {
  /** When the shard that has stood still for the longest last had its answers from Redis, in epoch milliseconds. */
  signMs(): number;
  /** Ends with the batches that are under way. */
  close(): Promise<void>;
}

export function startTicker(ports: TickPorts): Ticker {
  const stop = new AbortController();
  // Each shard by itself, so that one whose Redis node is away keeps none of the others.
  const signsMs = Array.from({ length: mailboxShards }, () => ports.clock.now());
  const loops = signsMs.map((_, shard) =>
    tickOn(ports, shard, stop.signal, (nowMs) => {
      signsMs[shard] = nowMs;
    }),
  );
  return {
    signMs: () => Math.min(...signsMs),
    async close() {
      stop.abort();
      await Promise.all(loops);
    },
  };
}

async function tickOn(
  ports: TickPorts,
  shard: number,
  signal: AbortSignal,
  giveSign: (nowMs: number) => void,
): Promise<void> {
  const { clock, logger } = ports;
  let wasFull = false;
  while (!signal.aborted) {
    // By chance, so that processes do not go round in step, of which one would always come first.
    let pauseMs = tickEveryMs * (0.5 + ports.random());
    try {
      const end = await tickOnce(ports, shard, signal);
      if (end === 'full' && !wasFull)
        logger.warn({ shard }, 'The fetch queue is full: mailboxes that are due have to wait');
      if (end !== 'not our turn') wasFull = end === 'full';
      giveSign(clock.now());
    } catch (error) {
      // A Redis that is away is told of by its connection.
      if (!ports.isStorageAway(error)) {
        logger.error({ err: error, shard }, 'A tick failed; what it had claimed comes due again');
        pauseMs = tickFaultMs;
      }
    }
    await clock.sleep(pauseMs, signal).catch(() => undefined);
  }
}

/** Adds all that is due in a shard, or as much as its queue takes. */
export async function tickOnce(
  { due, queues, clock, owner, observeLag }: TickPorts,
  shard: number,
  signal: AbortSignal,
): Promise<'done' | 'full' | 'not our turn'> {
  // Mostly nothing is, and that costs one question.
  const oldestMs = await due.oldest(shard);
  if (oldestMs === null || oldestMs > clock.now()) return 'done';
  if (!(await due.takeTurn(shard, owner))) return 'not our turn';
  let room = queueJobsMax - (await queues.countWaiting(shard));
  while (room > 0 && !signal.aborted) {
    const wanted = Math.min(room, claimMailboxesMax);
    const mailboxes = await due.claim(shard, clock.now(), wanted);
    if (mailboxes.length > 0) await queues.add(shard, mailboxes);
    const nowMs = clock.now();
    for (const { dueMs } of mailboxes) observeLag?.(nowMs - dueMs);
    if (mailboxes.length < wanted) break;
    room -= mailboxes.length;
    // Another process that took over meanwhile does the rest.
    if (!(await due.takeTurn(shard, owner))) return 'not our turn';
  }
  await due.endTurn(shard, owner);
  return room > 0 ? 'done' : 'full';
}
