/**
 * `CHAOS_SEEDS=2000 npx vitest run --config test/vitest.config.ts test/chaos` tries so many; `CHAOS_SEED=17` the one, as a failure names it.
 */
export function readSeeds(count: number, perSeed = 1): number[] {
  const { CHAOS_SEED: one, CHAOS_SEEDS: wanted } = process.env;
  if (one !== undefined) return [Number(one)];
  return Array.from({ length: Math.ceil(Number(wanted ?? count) / perSeed) }, (_, at) => at + 1);
}
