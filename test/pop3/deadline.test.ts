import { describe, expect, it, vi } from 'vitest';
import { withDeadline, type Cutoff } from '../../src/pop3/transport/waits.ts';
import { failureOf } from './fake-session.ts';

describe('a wait with a deadline', () => {
  const late = new Error('too late');
  const unwanted = new Error('no longer wanted');

  it('disposes of what comes after its end, be it by the same turn', async () => {
    for (const end of ['abort', 'deadline']) {
      const controller = new AbortController();
      const work = Promise.withResolvers<string>();
      const dispose = vi.fn<(value: string) => void>();
      const cutoffs: Cutoff[] = [];
      const deadline = { timeoutMs: end === 'abort' ? 10_000 : 1, signal: controller.signal, expired: () => late };
      const waiting = withDeadline(
        deadline,
        (cutoff) => {
          cutoffs.push(cutoff);
          return work.promise;
        },
        dispose,
      );
      const failing = failureOf(waiting);
      if (end === 'abort') controller.abort(unwanted);
      else await failing;
      work.resolve('a socket');
      const reason = end === 'abort' ? unwanted : late;
      expect(await failing).toBe(reason);
      expect(cutoffs[0]?.reason).toBe(reason);
      await vi.waitFor(() => expect(dispose.mock.calls).toEqual([['a socket']]));
    }
  });

  it('does not begin once the signal has aborted, and keeps what came in time', async () => {
    const work = vi.fn<() => Promise<string>>(async () => 'a socket');
    const dispose = vi.fn<(value: string) => void>();
    const options = { timeoutMs: 10_000, expired: () => late };
    const aborted = withDeadline({ ...options, signal: AbortSignal.abort(unwanted) }, work, dispose);
    expect(await failureOf(aborted)).toBe(unwanted);
    expect(work).not.toHaveBeenCalled();
    const signal = new AbortController().signal;
    expect(await withDeadline({ ...options, signal }, work, dispose)).toBe('a socket');
    expect(dispose).not.toHaveBeenCalled();
  });
});
