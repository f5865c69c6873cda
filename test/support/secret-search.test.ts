import { describe, expect, it } from 'vitest';
import { findSecrets, responsesOf, showAll } from './secret-search.ts';

const SECRET = 'hünter2 "canary"';

describe('the search for secrets', () => {
  it.each(['', 'a', 'ab', 'abc'])('finds one in base64 and hex behind %j, and others around it', (before) => {
    const bytes = Buffer.from(`${before}${SECRET}\0more`);
    for (const encoding of ['base64', 'base64url', 'hex', 'utf8'] as const) {
      expect(findSecrets(`said ${bytes.toString(encoding)}!`, [SECRET, 'absent'])).toEqual([SECRET]);
    }
    expect(findSecrets(encodeURIComponent(SECRET), [SECRET])).toEqual([SECRET]);
    expect(findSecrets(JSON.stringify({ SECRET }), [SECRET])).toEqual([SECRET]);
  });

  it('finds none where another stands', () => {
    const other = Buffer.from('\0u\0hünter3 "canary"').toString('base64');
    expect(findSecrets(`${other} hünter3`, [SECRET])).toEqual([]);
  });

  it('looks into the causes and hidden fields of an error', () => {
    const cause = Object.defineProperty(new Error('cause'), 'hidden', { value: { deep: [{ SECRET }] } });
    expect(findSecrets(showAll(new Error('outside', { cause })), ['hünter2'])).toEqual(['hünter2']);
  });

  it('knows what of a login is a response', () => {
    const encoded = (text: string): string => Buffer.from(text).toString('base64');
    const [plain, proof] = [encoded('\0u\0the password'), encoded('c=biws,r=abc,p=the-proof')];
    expect(responsesOf(['CAPA', 'UTF8', `AUTH PLAIN ${plain}`, 'QUIT'])).toEqual([plain, 'password']);
    expect(responsesOf(['AUTH SCRAM-SHA-256', proof])).toEqual([proof, 'p=the-proof']);
    expect(responsesOf(['USER u', 'PASS pass word'])).toContain('pass word');
    expect(responsesOf(['APOP u c4c9334bac560ecc979e58001b3e22fb'])).toContain('c4c9334bac560ecc979e58001b3e22fb');
  });
});
