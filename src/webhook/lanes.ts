/**
 * Room for attempts in one process, in two lanes. An endpoint that failed last, or was slow, keeps to its own; and an attempt that turns
 * out to be slow goes over to it. So the quick ones always have theirs, however many hang.
 */
export interface Lanes {
  /** Null where there is no room: try again in a moment. */
  enter(isSlow: boolean): Place | null;
}

export interface Place {
  leave(): void;
}

export interface LanesOptions {
  /** Attempts at once in each. What goes over does so even where the other is full. */
  max: number;
  /** After this an attempt goes over. */
  slowAfterMs: number;
  /** Calls once after so long, unless it is told not to. */
  after(ms: number, call: () => void): () => void;
}

export function createLanes({ max, slowAfterMs, after }: LanesOptions): Lanes {
  const taken = { quick: 0, slow: 0 };
  return {
    enter(isSlow) {
      let lane: keyof typeof taken = isSlow ? 'slow' : 'quick';
      if (taken[lane] >= max) return null;
      taken[lane] += 1;
      const cancel = isSlow
        ? () => undefined
        : after(slowAfterMs, () => {
            taken.quick -= 1;
            taken.slow += 1;
            lane = 'slow';
          });
      let isIn = true;
      return {
        leave() {
          if (!isIn) return;
          isIn = false;
          cancel();
          taken[lane] -= 1;
        },
      };
    },
  };
}
