/** Many calls at a time as one. */

/**
 * Calls of one key that are made before the event loop goes on to something else are answered by one run of all their items, in their
 * order. So commands to Redis that are asked for by the answer to others, or by a beat, are one.
 */
export function gatherBy<Item>(
  keyOf: (item: Item) => string,
  run: (items: [Item, ...Item[]]) => Promise<void>,
): (item: Item) => Promise<void> {
  const gathered = new Map<string, { items: [Item, ...Item[]]; done: Promise<void> }>();
  return (item) => {
    const key = keyOf(item);
    const others = gathered.get(key);
    if (others) {
      others.items.push(item);
      return others.done;
    }
    const items: [Item, ...Item[]] = [item];
    // The next tick comes once all that waited for the same thing has gone on.
    const turn = new Promise<void>((resolve) => process.nextTick(resolve));
    const done = turn.then(() => {
      gathered.delete(key);
      return run(items);
    });
    gathered.set(key, { items, done });
    return done;
  };
}
