import { afterAll, beforeAll, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { startTracing, type Tracing } from '../../src/telemetry/tracing.ts';
import { untraced } from '../../src/trace.ts';
import { startOtlpReceiver, type OtlpReceiver } from '../support/otlp-receiver.ts';

let collector: OtlpReceiver;
let tracing: Tracing;

beforeAll(async () => {
  collector = await startOtlpReceiver();
  tracing = await startTracing({ endpoint: collector.url, ratio: 1 });
});

afterAll(() => collector.close());

it('without an endpoint nothing is traced', async () => {
  const { trace, close } = await startTracing({ endpoint: undefined, ratio: 1 });
  expect(trace).toBe(untraced);
  expect(await trace.span({ name: 'work' }, async () => trace.traceparent() ?? 'none')).toBe('none');
  await close();
});

it('spans nest by what is under way, across awaits; a parent that cannot be read does not count; a failure has a code and no text', async () => {
  const { trace } = tracing;
  const id = 'a'.repeat(32);
  const secret = 'hunter2';
  expect(trace.traceparent()).toBeUndefined();
  await trace.span({ name: 'outer', parent: `00-${id}-${'b'.repeat(16)}-01` }, async () => {
    await Promise.all(
      [1, 2].map(() => trace.span({ name: 'inner' }, async () => expect(trace.traceparent()).toContain(id))),
    );
  });
  for (const parent of ['', 'nonsense', `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`, `ff;${secret}`]) {
    await trace.span({ name: 'alone', parent }, async () => undefined);
  }
  const failing = trace.span({ name: 'failing' }, async () => {
    throw new AppError('upstream_locked', secret);
  });
  await expect(failing).rejects.toMatchObject({ code: 'upstream_locked' });
  // A caller who does not want it kept is heard.
  await trace.span({ name: 'unsampled', parent: `00-${id}-${'b'.repeat(16)}-00` }, async () => undefined);
  await tracing.close();

  const named = (name: string) => collector.spans.filter((span) => span.name === name);
  const [outer] = named('outer');
  expect(outer).toMatchObject({ traceId: id, parentSpanId: 'b'.repeat(16) });
  expect(named('inner').map(({ parentSpanId }) => parentSpanId)).toEqual([outer!.spanId, outer!.spanId]);
  expect(named('alone').map(({ parentSpanId }) => parentSpanId)).toEqual(['', '', '', '']);
  expect(named('failing')).toMatchObject([{ status: 2, attributes: { 'error.type': 'upstream_locked' } }]);
  expect(named('unsampled')).toEqual([]);
  expect(collector.bodies.join('')).not.toContain(secret);
});
