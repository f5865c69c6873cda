/** Mails to measure with: made up, the same in every run, no two alike. */
export interface MailKind {
  readonly name: string;
  /** Messages of one run. */
  readonly messages: number;
  make(number: number): Buffer;
}

const WORDS =
  'the order has been shipped and will arrive on monday please find the invoice attached and let us know whether all is well thank you for your patience kind regards from the team'.split(
    ' ',
  );

/** Of the same seed the same numbers. */
function createRandom(seed: number): () => number {
  let state = seed + 0x6d_2b_79_f5;
  return () => {
    state = Math.imul(state ^ (state >>> 15), state | 1);
    state ^= state + Math.imul(state ^ (state >>> 7), state | 61);
    return ((state ^ (state >>> 14)) >>> 0) / 2 ** 32;
  };
}

function prose(random: () => number, chars: number): string {
  let text = '';
  let line = 0;
  while (text.length < chars) {
    const word = WORDS[Math.floor(random() * WORDS.length)] ?? '';
    line += word.length + 1;
    text += line > 70 ? `\r\n${word} ` : `${word} `;
    if (line > 70) line = word.length + 1;
  }
  return text;
}

/** Looks like noise, as a picture or a PDF does. */
function noise(random: () => number, bytes: number): string {
  const buffer = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) buffer.writeUInt32LE(Math.floor(random() * 2 ** 32), at);
  return buffer.toString('base64').replaceAll(/.{76}/g, '$&\r\n');
}

function head(number: number, random: () => number): string {
  const trace = [1, 2, 3]
    .map(
      (hop) =>
        `Received: from mx${hop}.example.net (mx${hop}.example.net [192.0.2.${hop}])\r\n\tby mx${hop + 1}.example.com (Postfix) with ESMTPS id ${Math.floor(random() * 2 ** 40).toString(36)}\r\n\tfor <support@example.com>; Fri, 27 Nov 2026 10:${10 + hop}:00 +0000 (UTC)\r\n`,
    )
    .join('');
  return `${trace}Message-ID: <${number}.${Math.floor(random() * 2 ** 48).toString(36)}@mail.example.net>\r\nDate: Fri, 27 Nov 2026 10:10:00 +0000\r\nFrom: =?UTF-8?Q?J=C3=B6rg_M=C3=BCller?= <joerg.mueller.${number % 97}@example.net>\r\nTo: Support Team <support@example.com>\r\nSubject: Re: Your order ${number} has been shipped to you\r\nMIME-Version: 1.0\r\n`;
}

function plain(number: number): Buffer {
  const random = createRandom(number);
  return Buffer.from(
    `${head(number, random)}Content-Type: text/plain; charset=utf-8\r\n\r\n${prose(random, 1500)}\r\n\r\nOn Mon, Nov 23, 2026 at 10:00 AM Bob <bob@example.com> wrote:\r\n> ${prose(random, 60)}\r\n`,
  );
}

/** Text, HTML and a file of that size. */
function withFile(number: number, fileBytes: number): Buffer {
  const random = createRandom(number);
  const text = prose(random, 2000);
  const html = `<html><body><table><tr><td style="color:#333">${text.replaceAll('\r\n', '<br>\r\n')}</td></tr></table></body></html>`;
  return Buffer.from(
    `${head(number, random)}Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n--inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n${text}\r\n--inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n${html}\r\n--inner--\r\n--outer\r\nContent-Type: application/pdf; name=invoice.pdf\r\nContent-Disposition: attachment; filename=invoice.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n${noise(random, fileBytes)}\r\n--outer--\r\n`,
  );
}

export const MAIL_KINDS: readonly MailKind[] = [
  { name: 'small', messages: 6000, make: plain },
  { name: 'medium', messages: 1500, make: (number) => withFile(number, 40_000) },
  { name: 'large', messages: 60, make: (number) => withFile(number, 1_500_000) },
];

/** A message with one file, of about so many bytes, as it is made: the memory of whoever measures holds none of it. */
export function* makeHuge(bytes: number): Generator<Buffer> {
  const random = createRandom(1);
  yield Buffer.from(
    `${head(1, random)}Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=huge.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n`,
  );
  const block = Buffer.from(`${noise(random, 57 * 850)}\r\n`);
  for (let made = 0; made < bytes; made += block.length) yield Buffer.from(block);
}
