/** Room for so many pieces of work at once. What finds none is refused rather than queued: the caller can wait as well as we. */
import { AppError } from '../errors.ts';

export type Room = <T>(work: () => Promise<T>) => Promise<T>;

/** For the caller: `messages` are being `parsed`. The room @throws AppError `busy`. */
export function createRoom(max: number, what: string, done: string): Room {
  let underWay = 0;
  return async (work) => {
    if (underWay >= max) {
      throw new AppError('busy', `${max} ${what} are being ${done}, which is as many as can be at once. Try again.`);
    }
    underWay += 1;
    try {
      return await work();
    } finally {
      underWay -= 1;
    }
  };
}
