import { describe, expect, it } from 'vitest';
import { LineSplitter } from '../../src/pop3/body.ts';
import { listingBytesMax, listLineBytesMax } from '../../src/pop3/limits.ts';

function open(linesMax = 1_000_000): LineSplitter {
  return new LineSplitter({ linesMax, violation: (what) => new Error(what) });
}

describe('the lines of a list', () => {
  it('are the same however they are split', () => {
    const bytes = Buffer.from('1 a\r\n\r\n2 b\rc\n3 \xff\r\n', 'latin1');
    for (let at = 0; at <= bytes.length; at += 1) {
      const splitter = open();
      const lines = [...splitter.push(bytes.subarray(0, at)), ...splitter.push(bytes.subarray(at))];
      expect(lines).toEqual(['1 a', '', '2 b\rc', '3 \xff']);
    }
  });

  it('are bounded in length, whether their end has come or not', () => {
    const fits = 'x'.repeat(listLineBytesMax);
    open().push(Buffer.from(`${fits}\r\n${fits}\r`));
    expect(() => open().push(Buffer.from(`${fits}x\n`))).toThrow(/octets/);
    expect(() => open().push(Buffer.from(`${fits}x`))).toThrow(/octets/);
  });

  it('are bounded in number and in all', () => {
    expect(() => open(2).push(Buffer.from('\n\n'))).not.toThrow();
    expect(() => open(2).push(Buffer.from('\n\n\n'))).toThrow('more than 2 lines');
    const splitter = open();
    const piece = Buffer.from(`${'x'.repeat(2047)}\n`.repeat(512));
    for (let sent = 0; sent + piece.length <= listingBytesMax; sent += piece.length) splitter.push(piece);
    expect(() => splitter.push(piece)).toThrow(`more than ${listingBytesMax} octets`);
  });
});
