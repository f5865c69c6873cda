/** For how long a form goes to where the name of its endpoint has led once. */
import { setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { createFormPost } from '../../src/egress/form-post.ts';
import { LOOPBACK, useSender } from '../webhook/sender-fixture.ts';

const { serveHttp } = useSender();

test('a connection that is kept is left when it is old: a name that is not allowed any more gets no form', async () => {
  const { port, sockets } = await serveHttp((_request, response) => response.end('{}'));
  let isAllowed = true;
  const resolve = async () => {
    if (!isAllowed) throw new AppError('egress_blocked', 'Not allowed any more.');
    return LOOPBACK;
  };
  const ports = { resolve, proxy: null, userAgent: 'popbridge-test' };
  const [keeping, renewing] = [createFormPost(ports), createFormPost({ ...ports, ageMsMax: 0 })];
  onTestFinished(async () => void (await Promise.all([keeping.close(), renewing.close()])));
  const post = (forms: typeof keeping) =>
    forms.post(new URL(`http://login.invalid:${port}/token`), {}, 'a=b', AbortSignal.timeout(10_000));
  for (const forms of [keeping, renewing]) expect((await post(forms)).status).toBe(200);
  await setImmediate();
  isAllowed = false;
  expect((await post(keeping)).status).toBe(200);
  await expect(post(renewing)).rejects.toThrow('Not allowed any more.');
  // And the old connection is closed, once nothing is under way on it.
  await expect.poll(() => sockets.filter(({ closed }) => !closed).length).toBe(1);
});
