/** What is fetched: maildrops of so many mails of such a size, near or far, and an empty one that is polled. */

export interface Corpus {
  readonly name: string;
  readonly title: string;
  /** Zero is a poll of an empty maildrop, many at once. */
  readonly messages: number;
  readonly messageBytes: number;
  /** Milliseconds that the network takes there and back; zero is the loopback as it is. */
  readonly roundTripMs: number;
}

export const CORPORA: readonly Corpus[] = [
  { name: 'small', title: '10,000 x 4 kB', messages: 10_000, messageBytes: 4_000, roundTripMs: 0 },
  { name: 'medium', title: '1,000 x 60 kB', messages: 1_000, messageBytes: 60_000, roundTripMs: 0 },
  { name: 'large', title: '40 x 5 MB', messages: 40, messageBytes: 5_000_000, roundTripMs: 0 },
  { name: 'huge', title: '1 x 50 MB', messages: 1, messageBytes: 50_000_000, roundTripMs: 0 },
  { name: 'far', title: '1,000 x 4 kB, 40 ms', messages: 1_000, messageBytes: 4_000, roundTripMs: 40 },
  { name: 'polls', title: 'polls, 50 at once', messages: 0, messageBytes: 0, roundTripMs: 0 },
];

/** With so many times the messages, for a short run. */
export function scaleDown(corpus: Corpus, scale: number): Corpus {
  return { ...corpus, messages: Math.ceil(corpus.messages * scale) };
}

const HEAD = [
  'From: Sender <sender@example.com>',
  'To: Recipient <recipient@example.com>',
  'Subject: A mail for the benchmark',
  'Date: Mon, 23 Nov 2026 12:00:00 +0000',
  'Content-Type: text/plain; charset=us-ascii',
  '',
  '.one line that begins with a dot',
  '',
].join('\r\n');

/** Lines that a server stuffs, and a client unstuffs, in each mail. */
const STUFFED_LINES = 1;

/** Exactly so many bytes, CRLF throughout. */
export function makeMail(bytes: number): Buffer {
  const line = `${'abcdefghijklmnopqrstuvwxyz0123456789ABCD'.repeat(2).slice(0, 76)}\r\n`;
  const body = line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes - HEAD.length - 2);
  return Buffer.from(`${HEAD}${body.replace(/\r$/, 'x')}\r\n`);
}

/** Octets that a fetch hands out, dots unstuffed, or as they were on the wire. */
export function expectedOctets({ messages, messageBytes }: Corpus, counted: 'mail' | 'wire'): number {
  return messages * (messageBytes + (counted === 'wire' ? STUFFED_LINES : 0));
}
