/** Writes TNEF as [MS-OXTNEF] has it, for tests; and as it has it not, where they ask for that. */

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function attribute(
  level: 1 | 2,
  id: number,
  data: Uint8Array,
  { length = data.length, sumOff = 0 } = {},
): Buffer {
  const sum = data.reduce((all, byte) => (all + byte) % 0x10000, 0);
  return Buffer.concat([Uint8Array.of(level), u32(id), u32(length), data, u16((sum + sumOff) % 0x10000)]);
}

export function tnef(...attributes: readonly Uint8Array[]): Buffer {
  const version = attribute(1, 0x00089006, u32(0x10000));
  return Buffer.concat([u32(0x223e9f78), u16(1), version, ...attributes]);
}

export const codepage = (number: number): Buffer => attribute(1, 0x00069007, Buffer.concat([u32(number), u32(0)]));
/** Begins a file. */
export const rendering = (): Buffer => attribute(2, 0x00069002, Buffer.alloc(14));
export const title = (bytes: Uint8Array | string): Buffer =>
  attribute(2, 0x00018010, Buffer.concat([Buffer.from(bytes), Uint8Array.of(0)]));
export const data = (bytes: Uint8Array | string): Buffer => attribute(2, 0x0006800f, Buffer.from(bytes));
export const properties = (...list: readonly Uint8Array[]): Buffer =>
  attribute(2, 0x00069005, Buffer.concat([u32(list.length), ...list]));

/** A property of one value of variable length. */
export function property(type: number, id: number, value: Uint8Array): Buffer {
  const padding = Buffer.alloc((4 - (value.length % 4)) % 4);
  return Buffer.concat([u16(type), u16(id), u32(1), u32(value.length), value, padding]);
}
export const unicode = (id: number, text: string): Buffer => property(0x1f, id, Buffer.from(`${text}\0`, 'utf-16le'));

export const LONG_FILENAME = 0x3707;
export const MIME_TAG = 0x370e;
export const CONTENT_ID = 0x3712;
export const DATA_PROPERTY = 0x3701;
