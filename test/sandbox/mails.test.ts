import { simpleParser } from 'mailparser';
import type { ParsedMail } from 'mailparser';
import { describe, expect, it } from 'vitest';
import { ENVELOPE_PNG } from '../../src/sandbox/mail-attachments.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';

async function parse(title: string): Promise<ParsedMail> {
  const mail = sandboxMails().find((mail) => mail.title === title);
  if (mail === undefined) throw new Error(`no sandbox mail is called ${title}`);
  return simpleParser(mail.raw, { skipImageLinks: true });
}

describe('the sandbox mails', () => {
  it('are a dozen, the same every time, each under a title of its own', () => {
    const mails = sandboxMails();
    expect(mails.length).toBe(12);
    expect(new Set(mails.map(({ title }) => title)).size).toBe(12);
    expect(sandboxMails()).toEqual(mails);
  });

  it.each(sandboxMails())('end every line in CRLF: $title', ({ raw }) => {
    const text = raw.toString('latin1');
    expect(text).toMatch(/\r\n$/);
    expect(text).not.toMatch(/(^|[^\r])\n|\r(?!\n)/);
  });

  it.each(sandboxMails())('are dated in November 2026 and have an id and ASCII header: $title', async ({ raw }) => {
    const { date, messageId } = await simpleParser(raw);
    expect(date?.toISOString()).toMatch(/^2026-11-/);
    expect(messageId).toMatch(/^<[a-z]+-\d+@example\.com>$/);
    const header = raw.subarray(0, raw.indexOf('\r\n\r\n')).toString('latin1');
    expect(header).toMatch(/^[\r\n\x20-\x7e]*$/);
    expect(header.split('\r\n').every((line) => line.length <= 78)).toBe(true);
  });

  it.each(sandboxMails())('name example domains only: $title', ({ raw }) => {
    const domains = raw.toString('latin1').match(/(?<=@|https?:\/\/)[a-z0-9.-]+\.[a-z]+/g) ?? [];
    expect(domains.length).toBeGreaterThan(0);
    expect(domains.filter((domain) => !/(^|\.)example\.(com|org|net|jp)$/.test(domain))).toEqual([]);
  });

  it('carry text in several charsets', async () => {
    const umlauts = await parse('umlauts and emoji');
    expect(umlauts.subject).toBe('Rückfrage: der Schalter der Lampe klemmt – bitte um Ersatz 🙏');
    expect(umlauts.from?.value[0]?.name).toBe('Jürgen Müller');
    expect(umlauts.text).toContain('klemmt 😕. Könnten Sie mir bitte einen neuen schicken? Größe M genügt.');

    const japanese = await parse('Japanese, ISO-2022-JP');
    expect(japanese.subject).toBe('会議のお知らせ');
    expect(japanese.from?.value[0]?.name).toBe('田中');
    expect(japanese.text).toContain('次回の会議は十一月十二日の午後二時からです。');

    const russian = await parse('Russian, windows-1251');
    expect(russian.subject).toBe('Вопрос о доставке');
    expect(russian.text).toContain('Когда будет доставлен мой заказ?');
  });

  it('carry an inline picture that the HTML refers to', async () => {
    const { html, attachments } = await parse('HTML with an inline picture');
    expect(html).toContain('cid:envelope@example.com');
    expect(attachments).toMatchObject([{ contentType: 'image/png', cid: 'envelope@example.com', related: true }]);
    expect(attachments[0]?.content).toEqual(ENVELOPE_PNG);
  });

  it('carry a PDF whose cross-references are right, and a CSV with a name beyond ASCII', async () => {
    const [pdf, csv] = (await parse('attachments')).attachments;
    expect(pdf).toMatchObject({ filename: 'invoice-2026-117.pdf', contentType: 'application/pdf' });
    const file = pdf?.content.toString('latin1') ?? '';
    expect(file.slice(Number(/startxref\n(\d+)\n%%EOF\n$/.exec(file)?.[1]))).toMatch(/^xref\n0 6\n/);
    const offsets = [...file.matchAll(/^(\d{10}) 00000 n $/gm)].map((entry) => Number(entry[1]));
    expect(offsets.map((offset) => file.slice(offset, offset + 7))).toEqual([1, 2, 3, 4, 5].map((n) => `${n} 0 obj`));
    expect(csv).toMatchObject({ filename: 'Übersicht Oktober – Größen.csv', contentType: 'text/csv' });
    expect(csv?.content.toString()).toContain('Glühbirne;10;4,50');
  });

  it('carry a delivery report, an invitation and a forwarded mail', async () => {
    const bounce = await parse('bounce');
    expect(bounce.headers.get('content-type')).toMatchObject({ params: { 'report-type': 'delivery-status' } });
    expect(bounce.text).toContain('Final-Recipient: rfc822; nobody@example.org');

    const { attachments } = await parse('calendar invitation');
    const calendar = attachments.find(({ contentType }) => contentType === 'text/calendar');
    expect(calendar?.content.toString()).toContain('METHOD:REQUEST');

    const forwarded = (await parse('forwarded message')).attachments[0];
    expect(forwarded?.contentType).toBe('message/rfc822');
    const original = await simpleParser(forwarded?.content ?? '');
    expect(original.subject).toBe('Lampe „Größe M“ zurückgeben');
    expect(original.attachments[0]?.filename).toBe('lamp.png');
  });

  it('carry what a mailing list adds', async () => {
    const { headers } = await parse('mailing list');
    expect(headers.get('list')).toMatchObject({
      id: { id: 'lamps.lists.example.org' },
      unsubscribe: { url: 'https://lists.example.org/lamps/leave?member=support' },
    });
  });

  it('carry lines of dots and a line of 5000 characters', async () => {
    const { text } = await parse('leading dots and a long line');
    expect(text?.trimEnd().split('\n')).toEqual(['.', '..', '...', '.profile', '.', 'x'.repeat(5_000), '.']);
  });

  it('carry a broken one that can still be read in part', async () => {
    const { text, attachments, subject } = await parse('broken MIME');
    expect(subject).toBe('Scan from the printer on floor 2');
    expect(text).toContain('still to be read');
    expect(attachments[0]?.filename).toBe('half.bin');
  });
});
