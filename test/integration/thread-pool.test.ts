/** The threads of the real program, as Linux lists them. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { startService } from '../support/service.ts';

it.for([
  ['has more threads for look-ups than Node gives it', undefined, 32],
  ['has as many as its operator gives it', '6', 6],
] as const)('the service %s', async ([, given, threads]) => {
  const service = await startService({ env: { UV_THREADPOOL_SIZE: given } });
  onTestFinished(() => service.close());
  await service.ready();
  const names = readdirSync(`/proc/${service.pid}/task`).map((task) =>
    readFileSync(`/proc/${service.pid}/task/${task}/comm`, 'utf8').trim(),
  );
  expect(names.filter((name) => name === 'libuv-worker')).toHaveLength(threads);
});
