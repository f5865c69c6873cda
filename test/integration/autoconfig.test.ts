/** POST /v1/autoconfig of the real service, as far as it needs no network. Every answer is held against the contract. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { startService, type Service } from '../support/service.ts';

let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service?.close();
});

const find = (email: unknown) => service.api('POST', '/v1/autoconfig', { body: { email } });

it('200: gives settings that a mailbox can be stored with, once a password is added', async () => {
  const answer = (await find('jo@web.de')).json() as components['schemas']['Autoconfig'];
  const { source, limits } = answer.candidates[0]!;
  expect(limits.minIntervalSeconds).toBe(720);
  const body = { source: { ...source, password: 'secret-of-jo' } };
  expect((await service.api('POST', '/v1/mailboxes', { body })).status).toBe(201);
});

it('200: says that a provider has no POP3', async () => {
  const answer = await find('jo@proton.me');
  expect(answer.status).toBe(200);
  expect(answer.json()).toMatchObject({ pop3: 'not_offered', candidates: [] });
});

it('400: says what is wrong with an address', async () => {
  for (const email of ['not an address', 'jo@localhost', 'jo@127.0.0.1', 7, 'x'.repeat(500)]) {
    const answer = await find(email);
    expect(answer.status, String(email)).toBe(400);
    expect(answer.asProblem().errors?.[0]?.pointer).toBe('/email');
  }
});

it('401: wants a key', async () => {
  const answer = await service.api('POST', '/v1/autoconfig', { body: { email: 'jo@web.de' }, key: null });
  expect(answer.status).toBe(401);
});
