/**
 * BullMQ's worker, with a sign of life: when it last asked its queue for a job and was answered. One that is idle asks every few seconds
 * (BullMQ gives a blocking command up that stays without an answer); so one that has long been silent is deaf, however well its
 * connections look. While all its places are taken it asks for nothing, and is well.
 */
import { Worker, type Job, type WorkerOptions } from 'bullmq';

export class WatchedWorker<Data> extends Worker<Data> {
  readonly #clock: { now(): number };
  readonly #places: number;
  readonly #running: { count: number };
  #answeredMs: number;

  constructor(
    name: string,
    run: (job: Job<Data>, token?: string) => Promise<void>,
    { clock, ...options }: WorkerOptions & { concurrency: number; clock: { now(): number } },
  ) {
    const running = { count: 0 };
    super(
      name,
      async (job: Job<Data>, token?: string) => {
        running.count += 1;
        try {
          await run(job, token);
        } finally {
          running.count -= 1;
          this.#answeredMs = clock.now();
        }
      },
      // Its loop would begin before the fields below are there.
      { ...options, autorun: false },
    );
    this.#clock = clock;
    this.#places = options.concurrency;
    this.#running = running;
    this.#answeredMs = clock.now();
    this.run().catch((error: unknown) => this.emit('error', error as Error));
  }

  /** In epoch milliseconds; of one that has no place left, now. */
  get signMs(): number {
    return this.#running.count >= this.#places ? this.#clock.now() : this.#answeredMs;
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job<Data>> {
    const job = await super.moveToActive(token, name);
    this.#answeredMs = this.#clock.now();
    return job;
  }
}
