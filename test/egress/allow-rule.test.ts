import { describe, expect, test } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { parseEgressAllow } from '../../src/egress/allow-rule.ts';
import { allowRulesMax } from '../../src/egress/limits.ts';

describe('POPBRIDGE_EGRESS_ALLOW', () => {
  test('allows nothing when empty', () => {
    expect(parseEgressAllow('')).toEqual([]);
    expect(parseEgressAllow(' , ,')).toEqual([]);
  });

  test.for([
    ['127.0.0.0/8:*', 'cidr', { from: 1, to: 65_535 }],
    ['10.1.2.3', 'cidr', null],
    ['10.1.2.3:110', 'cidr', { from: 110, to: 110 }],
    ['mail.internal:110', 'name', { from: 110, to: 110 }],
    ['Mail.Internal.', 'name', null],
    ['bücher.example:1-1024', 'name', { from: 1, to: 1024 }],
    ['*.internal:8000-8100', 'below', { from: 8000, to: 8100 }],
    ['[fd00::]/8:*', 'cidr', { from: 1, to: 65_535 }],
    ['[::1]', 'cidr', null],
    ['[::1]:995', 'cidr', { from: 995, to: 995 }],
    ['0.0.0.0/0', 'cidr', null],
  ] as const)('reads %s', ([entry, kind, ports]) => {
    const [rule] = parseEgressAllow(` ${entry} `);
    expect(rule?.target.kind).toBe(kind);
    expect(rule?.ports).toEqual(ports);
  });

  test('reads several entries in order', () => {
    expect(parseEgressAllow('127.0.0.0/8:*, mail.internal:110').map((rule) => rule.target.kind)).toEqual([
      'cidr',
      'name',
    ]);
  });

  test.for([
    'fd00::1',
    'fd00::/8:*',
    '10.0.0.0/33',
    '[fd00::]/129',
    'mail.internal/8',
    '*',
    '*:*',
    'a.*.internal',
    '*.10.0.0.1',
    'mail.internal:0',
    'mail.internal:65536',
    'mail.internal:200-100',
    'mail.internal:',
    'mail.internal:pop3',
    'http://mail.internal',
    '127.1',
    '2130706433',
    '0x7f.0.0.1',
    '[::ffff:10.0.0.1]',
    '[fe80::1%eth0]',
    '[10.0.0.1]',
    '[mail.internal]',
    'mail internal',
    'user@mail.internal',
    '-:110',
  ])('refuses %s by name and shows the grammar', (entry) => {
    const parse = (): unknown => parseEgressAllow(`10.0.0.0/8,${entry}`);
    expect(parse).toThrow(AppError);
    expect(parse).toThrow(expect.objectContaining({ code: 'invalid_config' }));
    expect(parse).toThrow(JSON.stringify(entry));
    expect(parse).toThrow('An entry is HOST');
  });

  test('is bounded', () => {
    expect(parseEgressAllow('10.0.0.1,'.repeat(allowRulesMax))).toHaveLength(allowRulesMax);
    expect(() => parseEgressAllow('10.0.0.1,'.repeat(allowRulesMax + 1))).toThrow(`more than ${allowRulesMax}`);
  });
});
