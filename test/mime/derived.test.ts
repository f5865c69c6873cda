import { describe, expect, test } from 'vitest';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail } from './mail.ts';

describe('what the header section implies', () => {
  test('is taken from the trace that servers leave, the latest first', async () => {
    const { derived, rawDate } = await parseMessage(
      mail(
        'Return-Path: <bounce@example.com>\n',
        'Delivered-To: me@example.org\n',
        'X-Original-To: sales@example.org\n',
        'Received: from a (a [192.0.2.1]) by b; id 1;\n\tTue, 02 Jan 2024 10:00:05 +0100 (CET)\n',
        'Received: by a; Tue, 02 Jan 2024 08:00:00 +0000\n',
        'Date: Tue, 2 Jan 2024 08:59:00 +0000 (sent)\n',
        'Message-ID: <1@example.com>\n\nHi.\n',
      ),
    );
    expect(derived).toMatchObject({
      receivedAt: '2024-01-02T09:00:05.000Z',
      returnPath: 'bounce@example.com',
      deliveredTo: 'me@example.org',
      originalRecipient: 'sales@example.org',
    });
    expect(rawDate).toBe('Tue, 2 Jan 2024 08:59:00 +0000 (sent)');
  });

  test.each([
    ['nothing', '', { receivedAt: null, returnPath: null, deliveredTo: null, originalRecipient: null }],
    ['the empty sender of a bounce', 'Return-Path: <>\n', { returnPath: null }],
    ['a Received without a date', 'Received: by a\n', { receivedAt: null }],
    ['a Received with no date behind its semicolon', 'Received: by a; soon\n', { receivedAt: null }],
    [
      'a typed original recipient',
      'Original-Recipient: rfc822; a@example.com\n',
      { originalRecipient: 'a@example.com' },
    ],
  ])('%s', async (_, head, expected) => {
    expect((await parseMessage(mail(`${head}Subject: x\n\nx\n`))).derived).toMatchObject(expected);
  });

  test('has one key for a thread: that of its first message, whichever field names it', async () => {
    const keyOf = async (head: string): Promise<string | null> =>
      (await parseMessage(mail(`${head}Subject: x\n\nx\n`))).derived.threadKey;
    const first = await keyOf('Message-ID: <1@a>\n');
    expect(first).toMatch(/^[0-9a-f]{32}$/);
    expect(await keyOf('Message-ID: <2@a>\nIn-Reply-To: <1@a>\n')).toBe(first);
    expect(await keyOf('Message-ID: <3@a>\nIn-Reply-To: <2@a>\nReferences: <1@a> <2@a>\n')).toBe(first);
    expect(await keyOf('Message-ID: <4@a>\n')).not.toBe(first);
  });
});

describe('authentication results', () => {
  test('are what each server states, without its comments, and said to be unverified', async () => {
    const { authenticationResults } = await parseMessage(
      mail(
        'Authentication-Results: mx.example.org 1; dkim=pass (2048-bit (rsa) key; ok) header.d=example.com;\n\tspf=SoftFail smtp.mailfrom=example.com; dmarc / 1 = none\n',
        'Authentication-Results: other.example; none\n\nx\n',
      ),
    );
    expect(authenticationResults).toEqual([
      {
        server: 'mx.example.org',
        methods: [
          { method: 'dkim', result: 'pass' },
          { method: 'spf', result: 'softfail' },
          { method: 'dmarc', result: 'none' },
        ],
        isVerified: false,
      },
      { server: 'other.example', methods: [], isVerified: false },
    ]);
  });

  test('that never end, or are nested without end, cost no more than their length', async () => {
    const nested = `Authentication-Results: ${'('.repeat(100_000)}; dkim=pass\n`;
    const many = Array.from({ length: 100 }, () => `Authentication-Results: a; ${'spf=pass; '.repeat(1000)}\n`).join(
      '',
    );
    const { authenticationResults } = await parseMessage(mail(`${nested}Subject: x\n\nx\n`));
    expect(authenticationResults).toEqual([{ server: null, methods: [], isVerified: false }]);
    const bounded = (await parseMessage(mail(`${many}\nx\n`))).authenticationResults;
    expect(bounded.length).toBe(20);
    expect(bounded.every(({ methods }) => methods.length === 20)).toBe(true);
  });
});
