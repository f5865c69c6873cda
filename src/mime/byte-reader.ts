/** Bytes that come in pieces, read by the count. What was asked for and is not there fails: a format that promised it is damaged. */

export class MalformedError extends Error {
  override readonly name = 'MalformedError';
}

export class ByteReader {
  /** Bytes that may still be read of the section that is being read. */
  left = Number.POSITIVE_INFINITY;
  /** The sum of all bytes that were read since it was set. */
  sum = 0;
  /** The source has no more. */
  hasEnded = false;
  readonly #source: AsyncIterator<Uint8Array>;
  #piece: Buffer = Buffer.alloc(0);

  /** It never closes the source, and reads no further than it has to. */
  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Just as many bytes, which should be few. @throws MalformedError */
  async take(bytes: number): Promise<Buffer> {
    const taken: Buffer[] = [];
    for await (const piece of this.pass(bytes)) taken.push(piece);
    return taken.length === 1 && taken[0] ? taken[0] : Buffer.concat(taken);
  }

  /** Of the least significant byte first. @throws MalformedError */
  async takeUint32(): Promise<number> {
    return (await this.take(4)).readUInt32LE();
  }

  /** @throws MalformedError */
  async skip(bytes: number): Promise<void> {
    for await (const piece of this.pass(bytes)) void piece;
  }

  /** As many bytes, in pieces. @throws MalformedError */
  async *pass(bytes: number): AsyncGenerator<Buffer, void> {
    if (bytes > this.left) throw new MalformedError('A length leads out of its section');
    for (let wanted = bytes; wanted > 0;) {
      if (!(await this.hasMore())) throw new MalformedError('It ends early');
      const piece = this.#piece.subarray(0, wanted);
      this.#piece = this.#piece.subarray(piece.length);
      this.left -= piece.length;
      wanted -= piece.length;
      for (const byte of piece) this.sum += byte;
      yield piece;
    }
  }

  /** Whether the source has another byte, in the section or behind it. */
  async hasMore(): Promise<boolean> {
    while (this.#piece.length === 0 && !this.hasEnded) {
      const { done, value } = await this.#source.next();
      if (done === true) this.hasEnded = true;
      else this.#piece = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    return !this.hasEnded;
  }
}
