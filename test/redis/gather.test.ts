import { expect, test } from 'vitest';
import { gatherBy } from '../../src/redis/gather.ts';

interface Item {
  key: string;
  number: number;
}

function collect(fail: (items: Item[]) => boolean = () => false) {
  const runs: Item[][] = [];
  const add = gatherBy<Item>(
    ({ key }) => key,
    async (items) => {
      runs.push(items);
      if (fail(items)) throw new Error(`of ${items.length}`);
    },
  );
  return { add, numbers: () => runs.map((items) => items.map(({ number }) => number)) };
}

test('those of a key that wait for the same thing are one run, in their order, and each key is a run of its own', async () => {
  const { add, numbers } = collect();
  const answer = Promise.withResolvers<void>();
  const all = [1, 2, 3, 4].map(async (number) => {
    await answer.promise;
    await add({ key: number % 2 === 0 ? 'even' : 'odd', number });
  });
  answer.resolve();
  await Promise.all(all);
  expect(numbers()).toEqual([
    [1, 3],
    [2, 4],
  ]);
});

test('what comes while a run is under way is in the next one', async () => {
  const { add, numbers } = collect();
  const first = add({ key: 'a', number: 1 });
  await new Promise(setImmediate);
  await Promise.all([first, add({ key: 'a', number: 2 })]);
  expect(numbers()).toEqual([[1], [2]]);
});

test('whoever is in a run that fails hears of it, and the next run is not touched', async () => {
  const { add } = collect((items) => items.length === 2);
  const failed = await Promise.allSettled([add({ key: 'a', number: 1 }), add({ key: 'a', number: 2 })]);
  expect(failed).toEqual([1, 2].map(() => ({ status: 'rejected', reason: new Error('of 2') })));
  await expect(add({ key: 'a', number: 3 })).resolves.toBeUndefined();
});
