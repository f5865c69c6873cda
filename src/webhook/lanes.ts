/**
 * Room for attempts in one process, in two lanes. Whoever leaves a place and has more to send takes the next one, a few times, before it
 * is another's turn: what goes to one endpoint together costs less. An endpoint that failed last, or was slow, keeps to its own; and an attempt that turns
 * out to be slow goes over to it, sooner where others wait for its place. So the quick ones always have theirs, however many hang.
 */
export interface Lanes {
  /** A place, or null where there is no room: then it waits for one. */
  enter(wanted: WantedPlace): Place | null;
  /** Waits no longer. */
  leaveLine(wanted: WantedPlace): void;
}

export interface WantedPlace {
  /** Whoever wants it. In a line it has one place. */
  by: object;
  isSlow: boolean;
  /** Nothing else is under way to the webhook. Among the slow ones each has a place of its own, whatever others take. */
  isFirst: boolean;
  /** The attempt has turned out to be slow. */
  onSlow(): void;
  /** Called once, after null. Who has no use for the place leaves it. */
  onRoom(place: Place): void;
}

export interface Place {
  leave(): void;
}

export interface LanesOptions {
  /** Places that one is given one after the other while others wait. */
  placesInTurn: number;
  /** Attempts at once in each. What goes over does so even where the other is full. */
  max: number;
  /** After this an attempt goes over. */
  slowAfterMs: number;
  /** After this it goes over where others wait for its place; less than `slowAfterMs`. */
  crowdedAfterMs: number;
  /** Calls once after so long, unless it is told not to. */
  after(ms: number, call: () => void): () => void;
}

class Lane {
  taken = 0;
  /** In their order, by who they are. */
  readonly waiting = new Map<object, WantedPlace>();
}

export function createLanes({ max, placesInTurn, slowAfterMs, crowdedAfterMs, after }: LanesOptions): Lanes {
  const lanes = { quick: new Lane(), slow: new Lane() };
  /** Attempts in the quick lane that may be asked to go over, the longest there first. */
  const movable = new Set<() => void>();

  /** @param inTurn of the place that is free: how many its owner has been given one after the other. */
  function free(lane: Lane, by: object, inTurn: number): void {
    lane.taken -= 1;
    if (lane.taken >= max) return;
    // Among the slow ones a turn could last for minutes.
    const isTurnOver = lane === lanes.slow || inTurn >= placesInTurn;
    const again = isTurnOver ? undefined : lane.waiting.get(by);
    const next = again ?? lane.waiting.values().next().value;
    if (!next) return;
    lane.waiting.delete(next.by);
    next.onRoom(take(next, again ? inTurn + 1 : 1));
  }

  function take({ by, isSlow, onSlow }: WantedPlace, inTurn = 1): Place {
    let lane = isSlow ? lanes.slow : lanes.quick;
    lane.taken += 1;
    const goOver = (): void => {
      movable.delete(goOver);
      if (lane === lanes.slow) return;
      lane = lanes.slow;
      lane.taken += 1;
      // Its turn is over.
      free(lanes.quick, by, placesInTurn);
    };
    let cancel = (): void => undefined;
    if (!isSlow) {
      cancel = after(crowdedAfterMs, () => {
        cancel = after(slowAfterMs - crowdedAfterMs, () => {
          onSlow();
          goOver();
        });
        if (lanes.quick.waiting.size > 0) goOver();
        else movable.add(goOver);
      });
    }
    let isIn = true;
    return {
      leave() {
        if (!isIn) return;
        isIn = false;
        cancel();
        movable.delete(goOver);
        free(lane, by, inTurn);
      },
    };
  }

  return {
    enter(wanted) {
      const lane = wanted.isSlow ? lanes.slow : lanes.quick;
      if (!wanted.isSlow && lane.taken >= max) movable.values().next().value?.();
      const isRoom = lane.taken < max && lane.waiting.size === 0;
      if (isRoom || (wanted.isSlow && wanted.isFirst)) return take(wanted);
      lane.waiting.set(wanted.by, wanted);
      return null;
    },
    leaveLine(wanted) {
      (wanted.isSlow ? lanes.slow : lanes.quick).waiting.delete(wanted.by);
    },
  };
}
