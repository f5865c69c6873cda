/** Reads to the end, and keeps the first bytes. */
export async function readStart(source: AsyncIterable<Buffer>, bytesMax: number): Promise<Uint8Array> {
  const kept: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of source) {
    if (bytes < bytesMax) kept.push(Buffer.from(chunk.subarray(0, bytesMax - bytes)));
    bytes += chunk.length;
  }
  return new Uint8Array(Buffer.concat(kept));
}
