import { expect, test } from 'vitest';
import { createBeat } from '../../src/webhook/beat.ts';

test('who waits goes on together with all that came before the beat, and who comes later with the next one', async () => {
  const beats: (() => void)[] = [];
  const beat = createBeat(2, async (ms) => {
    expect(ms).toBe(2);
    return new Promise((resolve) => beats.push(resolve));
  });
  const gone: string[] = [];
  const wait = async (name: string): Promise<void> => beat().then(() => void gone.push(name));
  const early = [wait('first'), wait('second')];
  expect(beats).toHaveLength(1);
  beats[0]?.();
  await Promise.all(early);
  expect(gone).toEqual(['first', 'second']);
  const late = wait('third');
  expect(beats).toHaveLength(2);
  expect(gone).toEqual(['first', 'second']);
  beats[1]?.();
  await late;
  expect(gone).toEqual(['first', 'second', 'third']);
});
