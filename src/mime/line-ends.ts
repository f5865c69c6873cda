/**
 * Line ends that gateways break: bare carriage returns, and carriage returns doubled before a line feed (RFC 5322 §2.3 has CRLF
 * only). Where the first line of a message ends so, all of them are mended before anything is parsed.
 */
const CR = 0x0d;
const LF = 0x0a;

export type LineEnds = 'usual' | 'bare' | 'doubled';

/** @param head the beginning of the message. */
export function findLineEnds(head: Buffer): LineEnds {
  const at = head.indexOf(CR);
  if (at === -1 || at + 1 >= head.length || head[at + 1] === LF || head.subarray(0, at).includes(LF)) return 'usual';
  if (head[at + 1] === CR && head[at + 2] === LF) return 'doubled';
  // A stray carriage return within a field is none: what follows one that ends a line is a field again.
  const isField = /^[!-9;-~]{1,100}:/;
  const next = head.toString('latin1', at + 1, at + 1 + 120);
  return isField.test(head.toString('latin1', 0, Math.min(at, 120))) && isField.test(next) ? 'bare' : 'usual';
}

/** Bytes in, in pieces; the same with usual line ends out. */
export function createLineEndMender(ends: LineEnds): { push(bytes: Uint8Array): Buffer; end(): Buffer } {
  let pending = Buffer.alloc(0);
  const mend = (text: string): Buffer =>
    Buffer.from(ends === 'bare' ? text.replaceAll(/\r(?!\n)/g, '\r\n') : text.replaceAll(/\r+\n/g, '\r\n'), 'latin1');
  return {
    push(bytes) {
      const whole = Buffer.concat([pending, bytes]);
      // What follows its last carriage returns decides on them.
      let end = whole.length;
      while (end > 0 && whole[end - 1] === CR) end -= 1;
      pending = whole.subarray(end);
      return mend(whole.toString('latin1', 0, end));
    },
    end: () => mend(pending.toString('latin1')),
  };
}
