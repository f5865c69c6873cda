import { expect, test } from 'vitest';
import { parseHostLimits, slotKeyOf } from '../../src/fetch/host-limits.ts';
import { hostConnectionsMax, hostLimitsMax, hostLoginsPerSecondMax } from '../../src/fetch/limits.ts';

const otherwise = { connections: 10, loginsPerSecond: 5 };

test('a host has the limits that are set for it, however it is spelled, and any other host those for all', () => {
  const limitsOf = parseHostLimits(' pop.example.com=20/10, Bücher.example.=1/1,,[::1]=3/1000', otherwise);
  expect(limitsOf(slotKeyOf('POP.example.com.'))).toEqual({ connections: 20, loginsPerSecond: 10 });
  expect(limitsOf(slotKeyOf('xn--bcher-kva.example'))).toEqual({ connections: 1, loginsPerSecond: 1 });
  expect(limitsOf(slotKeyOf('0:0:0::1'))).toEqual({ connections: 3, loginsPerSecond: 1000 });
  expect(limitsOf(slotKeyOf('imap.pop.example.com'))).toEqual(otherwise);
});

test.each([
  'pop.example.com',
  'pop.example.com=20',
  'pop.example.com=0/5',
  'pop.example.com=5/0',
  'pop.example.com=1.5/5',
  `pop.example.com=${hostConnectionsMax + 1}/5`,
  `pop.example.com=5/${hostLoginsPerSecondMax + 1}`,
  '=5/5',
  'pop.example.com = 5/5',
])('%s is refused, and said to be wrong', (entry) => {
  const code = { code: 'invalid_config', message: expect.stringContaining(JSON.stringify(entry)) };
  expect(() => parseHostLimits(`good.example=1/1,${entry}`, otherwise)).toThrow(expect.objectContaining(code));
});

test('there are no more entries than can be looked through', () => {
  const entries = (count: number): string => Array.from({ length: count }, (_, n) => `h${n}.example=1/1`).join(',');
  expect(() => parseHostLimits(entries(hostLimitsMax), otherwise)).not.toThrow();
  expect(() => parseHostLimits(entries(hostLimitsMax + 1), otherwise)).toThrow(`more than ${hostLimitsMax} entries`);
});
