/** A few of something that takes long to start, of which each trial takes one for itself. */
export interface Pool<T> {
  take(): Promise<T>;
  give(one: T): void;
  close(): Promise<void>;
}

export function createPool<T extends { close(): Promise<void> }>(all: readonly T[]): Pool<T> {
  const idle = [...all];
  const waiting: ((one: T) => void)[] = [];
  return {
    async take() {
      return idle.pop() ?? new Promise((resolve) => waiting.push(resolve));
    },
    give(one) {
      const next = waiting.shift();
      if (next) next(one);
      else idle.push(one);
    },
    async close() {
      await Promise.all(all.map((one) => one.close()));
    },
  };
}
