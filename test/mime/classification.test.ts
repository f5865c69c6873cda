import { describe, expect, test } from 'vitest';
import { parseMessage } from '../../src/mime/parse.ts';
import { mail } from './mail.ts';

async function classify(...pieces: readonly string[]) {
  return (await parseMessage(mail(...pieces))).classification;
}

function report(type: string, part: string, content: string): string {
  return [
    `Content-Type: multipart/report; report-type=${type}; boundary=b\nMIME-Version: 1.0\n\n`,
    '--b\nContent-Type: text/plain\n\nFor people.\n',
    `--b\nContent-Type: ${part}\n\n${content}\n`,
    '--b\nContent-Type: message/rfc822\n\nSubject: the mail\n\nx\n--b--\n',
  ].join('');
}

const NOTHING = {
  autoReply: null,
  bulk: false,
  list: null,
  deliveryStatus: null,
  feedback: null,
  readReceipt: null,
  calendarMethod: null,
  security: null,
  tnef: false,
};

describe('a message', () => {
  test("that is a person's is nothing of all this", async () => {
    expect(await classify('From: a@example.com\nSubject: Hi\n\nHello\n')).toEqual(NOTHING);
  });

  test.each([
    ['Auto-Submitted: auto-replied; owner-email="a@example.com"', 'replied'],
    ['Auto-Submitted: auto-generated', 'generated'],
    ['Auto-Submitted: auto-notified', 'generated'],
    ['X-Autoreply: yes', 'replied'],
    ['Precedence: auto_reply', 'replied'],
    ['Auto-Submitted: no\nX-Autoreply: yes', null],
  ])('with %j was written by no person: %s', async (head, autoReply) => {
    expect(await classify(`${head}\n\nI am away.\n`)).toEqual({ ...NOTHING, autoReply });
  });

  test('of a list says how to leave it', async () => {
    const one = await classify(
      'List-Id: News <news.example.com>\n',
      'List-Unsubscribe: <mailto:leave@example.com?subject=leave>,\n <https://example.com/u?id=1>, <javascript:alert(1)>\n',
      'List-Unsubscribe-Post: List-Unsubscribe=One-Click\n\nNews!\n',
    );
    expect(one).toEqual({
      ...NOTHING,
      bulk: true,
      list: {
        id: 'news.example.com',
        unsubscribe: ['mailto:leave@example.com?subject=leave', 'https://example.com/u?id=1'],
        oneClick: true,
      },
    });
    expect(await classify('Precedence: bulk\n\nNews!\n')).toEqual({ ...NOTHING, bulk: true });
    // RFC 8058 is for https alone.
    const mailOnly = 'List-Unsubscribe: <mailto:a@b>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n\nx\n';
    expect((await classify(mailOnly)).list).toMatchObject({ id: null, oneClick: false });
  });

  test('that reports a delivery says of each recipient what became of it', async () => {
    const { deliveryStatus } = await classify(
      report(
        'delivery-status',
        'message/delivery-status',
        [
          'Reporting-MTA: dns; mx.example.com\nArrival-Date: Tue, 2 Jan 2024 08:00:00 +0000\n',
          'Original-Recipient: rfc822;sales@example.org\nFinal-Recipient: rfc822; a@example.org\nAction: Failed\nStatus: 5.1.1 (bad mailbox)\nRemote-MTA: dns; mx.example.org\nDiagnostic-Code: smtp; 550 5.1.1\n no such user\n',
          'Final-Recipient: rfc822; b@example.org\nAction: delayed\nStatus: 4.4.7\n',
        ].join('\n'),
      ),
    );
    expect(deliveryStatus).toEqual({
      reportingMta: 'mx.example.com',
      recipients: [
        {
          recipient: 'a@example.org',
          originalRecipient: 'sales@example.org',
          action: 'failed',
          status: '5.1.1',
          diagnostic: 'smtp; 550 5.1.1 no such user',
          remoteMta: 'mx.example.org',
        },
        {
          recipient: 'b@example.org',
          originalRecipient: null,
          action: 'delayed',
          status: '4.4.7',
          diagnostic: null,
          remoteMta: null,
        },
      ],
    });
  });

  test('that reports for a million recipients is read as far as its bound', async () => {
    const many = 'Reporting-MTA: dns; a\n\n'.concat('Final-Recipient: rfc822; a@b\nAction: failed\n\n'.repeat(2000));
    const few = await classify(report('delivery-status', 'message/delivery-status', many));
    expect(few.deliveryStatus?.recipients.length).toBe(100);
    const tooLong = await classify(report('delivery-status', 'message/delivery-status', many.repeat(5)));
    expect(tooLong.deliveryStatus).toBeNull();
  });

  test('that complains of another says of which kind', async () => {
    const { feedback } = await classify(
      report(
        'feedback-report',
        'message/feedback-report',
        'Feedback-Type: abuse\nUser-Agent: Some/1.0\nVersion: 1\nOriginal-Rcpt-To: <a@example.com>\nSource-IP: 192.0.2.1\n',
      ),
    );
    expect(feedback).toEqual({
      type: 'abuse',
      userAgent: 'Some/1.0',
      originalRecipient: 'a@example.com',
      sourceIp: '192.0.2.1',
    });
  });

  test('that is a read receipt says of what', async () => {
    const { readReceipt } = await classify(
      report(
        'disposition-notification',
        'message/disposition-notification',
        'Final-Recipient: rfc822; a@example.com\nOriginal-Message-ID: <1@example.com>\nDisposition: manual-action/MDN-sent-manually; displayed\n',
      ),
    );
    expect(readReceipt).toEqual({
      recipient: 'a@example.com',
      originalMessageId: '<1@example.com>',
      disposition: 'displayed',
    });
  });

  test('that invites names the method', async () => {
    const { calendarMethod } = await classify(
      'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n',
      '--b\nContent-Type: text/plain\n\nCome!\n',
      '--b\nContent-Type: text/calendar; method=request; charset=utf-8\n\nBEGIN:VCALENDAR\nEND:VCALENDAR\n--b--\n',
    );
    expect(calendarMethod).toBe('REQUEST');
  });

  test.each([
    ['multipart/signed; protocol="application/pgp-signature"; boundary=b', 'pgp-signed'],
    ['multipart/signed; protocol="application/pkcs7-signature"; boundary=b', 'smime-signed'],
    ['multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b', 'pgp-encrypted'],
    ['application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m', 'smime-encrypted'],
    ['application/x-pkcs7-mime; smime-type=signed-data', 'smime-signed'],
    ['text/plain; protocol=pgp', null],
  ])('of the type %j is %s', async (type, security) => {
    expect(await classify(`Content-Type: ${type}\n\n--b\n\nx\n--b--\n`)).toEqual({ ...NOTHING, security });
  });
});
