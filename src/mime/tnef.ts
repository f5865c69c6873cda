/**
 * TNEF, which Outlook and Exchange wrap attachments in ([MS-OXTNEF]): the files of a `winmail.dat`, as they stream by.
 *
 * It reads files, their names and types. It reads no message of it: the text stands beside it in the mail, and an Outlook
 * item that is attached comes as a file, which is TNEF again.
 */
import { ByteReader, MalformedError } from './byte-reader.ts';
import { attachmentFieldCharsMax, tnefAttributesMax, tnefPropertiesMax } from './limits.ts';
import { decodeBytes } from './text.ts';

export interface TnefFile {
  readonly name: string | null;
  readonly contentType: string | null;
  readonly contentId: string | null;
}

/** The names of a file stand behind its content. */
export type TnefItem =
  | { readonly kind: 'begin' }
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'end'; readonly file: TnefFile };

/** `none`: it is no TNEF. `damaged`: there may be more in it than was found. */
export type TnefOutcome = 'whole' | 'damaged' | 'none';

/** Ends early where it is damaged, and leaves the rest of `source`. Fails with what `source` fails with, and nothing else. */
export async function* readTnef(source: AsyncIterable<Uint8Array>): AsyncGenerator<TnefItem, TnefOutcome> {
  const reader = new ByteReader(source);
  const state: State = { charset: null, file: null, isDamaged: false, propertiesLeft: tnefPropertiesMax };
  try {
    if ((await reader.takeUint32()) !== SIGNATURE) return 'none';
    await reader.skip(2);
  } catch (thrown) {
    if (thrown instanceof MalformedError) return 'none';
    throw thrown;
  }
  let attributes = 0;
  while (await reader.hasMore()) {
    attributes += 1;
    try {
      if (attributes > tnefAttributesMax) throw new MalformedError('Too many attributes');
      yield* readAttribute(reader, state);
    } catch (thrown) {
      if (!(thrown instanceof MalformedError)) throw thrown;
      state.isDamaged = true;
      break;
    }
  }
  yield* endFile(state);
  return state.isDamaged ? 'damaged' : 'whole';
}

const SIGNATURE = 0x223e9f78;
const OF_MESSAGE = 1;
const OF_ATTACHMENT = 2;
/** Identifier and type (§2.1.3.3), as one number. */
const OEM_CODEPAGE = 0x00069007;
const ATTACH_REND_DATA = 0x00069002;
const ATTACH_TITLE = 0x00018010;
const ATTACH_DATA = 0x0006800f;
/** A list of properties. */
const ATTACHMENT = 0x00069005;

/** Properties ([MS-OXPROPS]). */
const DISPLAY_NAME = 0x3001;
const ATTACH_DATA_PROPERTY = 0x3701;
const ATTACH_FILENAME = 0x3704;
const ATTACH_LONG_FILENAME = 0x3707;
const ATTACH_MIME_TAG = 0x370e;
const ATTACH_CONTENT_ID = 0x3712;
const TEXTS = new Set([DISPLAY_NAME, ATTACH_FILENAME, ATTACH_LONG_FILENAME, ATTACH_MIME_TAG, ATTACH_CONTENT_ID]);

/** Types of properties ([MS-OXCDATA] §2.11.1); those of fixed size with what they take here. */
const STRING8 = 0x1e;
const UNICODE = 0x1f;
const OBJECT = 0x0d;
const BINARY = 0x102;
const MULTIPLE = 0x1000;
const FIXED_BYTES: ReadonlyMap<number, number> = new Map([
  ...([0x02, 0x03, 0x04, 0x0a, 0x0b] as const).map((type) => [type, 4] as const),
  ...([0x05, 0x06, 0x07, 0x14, 0x40] as const).map((type) => [type, 8] as const),
  [0x48, 16] as const,
]);
const FIRST_NAMED_PROPERTY = 0x8000;
const GUID_BYTES = 16;
/** What an object that is an Outlook item begins with: IID_IMessage. */
const ITEM_GUID = Buffer.from('0703020000000000c000000000000046', 'hex');

interface State {
  /** Of 8-bit texts; null where it is not said or not known. */
  charset: string | null;
  file: OpenFile | null;
  isDamaged: boolean;
  propertiesLeft: number;
}

interface OpenFile {
  hasContent: boolean;
  isItem: boolean;
  title: string | null;
  readonly texts: Map<number, string>;
}

async function* readAttribute(reader: ByteReader, state: State): AsyncGenerator<TnefItem, void> {
  const head = await reader.take(9);
  const [level, id, length] = [head.readUInt8(), head.readUInt32LE(1), head.readUInt32LE(5)];
  if (level !== OF_MESSAGE && level !== OF_ATTACHMENT) throw new MalformedError('Neither of the message nor a file');
  reader.left = length;
  reader.sum = 0;
  try {
    if (level === OF_ATTACHMENT) yield* readFileAttribute(reader, state, id, length);
    else if (id === OEM_CODEPAGE && length >= 4) state.charset = charsetOf(await reader.takeUint32());
  } catch (thrown) {
    // What is amiss within an attribute is amiss there alone.
    if (!(thrown instanceof MalformedError) || reader.hasEnded) throw thrown;
    state.isDamaged = true;
  }
  await reader.skip(reader.left);
  reader.left = Number.POSITIVE_INFINITY;
  const sum = reader.sum % 0x10000;
  if ((await reader.take(2)).readUInt16LE() !== sum) state.isDamaged = true;
}

async function* readFileAttribute(
  reader: ByteReader,
  state: State,
  id: number,
  length: number,
): AsyncGenerator<TnefItem, void> {
  if (state.file === null || id === ATTACH_REND_DATA) {
    yield* endFile(state);
    state.file = { hasContent: false, isItem: false, title: null, texts: new Map() };
    yield { kind: 'begin' };
  }
  if (id === ATTACH_TITLE) state.file.title ??= await readText(reader, length, STRING8, state.charset);
  else if (id === ATTACH_DATA) yield* readContent(reader, state, state.file, length);
  else if (id === ATTACHMENT) yield* readProperties(reader, state, state.file);
}

/** A file has one content. */
async function* readContent(
  reader: ByteReader,
  state: State,
  file: OpenFile,
  length: number,
): AsyncGenerator<TnefItem, void> {
  if (length === 0) return;
  if (file.hasContent) {
    state.isDamaged = true;
    return reader.skip(length);
  }
  file.hasContent = true;
  for await (const bytes of reader.pass(length)) yield { kind: 'bytes', bytes };
}

/** §2.1.3.4. */
async function* readProperties(reader: ByteReader, state: State, file: OpenFile): AsyncGenerator<TnefItem, void> {
  for (let count = await reader.takeUint32(); count > 0; count -= 1) {
    state.propertiesLeft -= 1;
    if (state.propertiesLeft < 0) throw new MalformedError('Too many properties');
    const tag = await reader.take(4);
    const [type, id] = [tag.readUInt16LE(), tag.readUInt16LE(2)];
    if (id >= FIRST_NAMED_PROPERTY) await skipName(reader);
    const single = type & ~MULTIPLE;
    const fixedBytes = FIXED_BYTES.get(single);
    const isVariable = [STRING8, UNICODE, OBJECT, BINARY].includes(single);
    if (fixedBytes === undefined && !isVariable) throw new MalformedError('No type of a property');
    const values = type === single && !isVariable ? 1 : await reader.takeUint32();
    if (fixedBytes !== undefined) {
      await reader.skip(values * fixedBytes);
      continue;
    }
    for (let value = 0; value < values; value += 1) {
      state.propertiesLeft -= 1;
      if (state.propertiesLeft < 0) throw new MalformedError('Too many values');
      yield* readValue(reader, state, file, { id, type: single });
    }
  }
}

async function skipName(reader: ByteReader): Promise<void> {
  await reader.skip(GUID_BYTES);
  const isNumber = (await reader.takeUint32()) === 0;
  await reader.skip(isNumber ? 4 : padded(await reader.takeUint32()));
}

async function* readValue(
  reader: ByteReader,
  state: State,
  file: OpenFile,
  { id, type }: { id: number; type: number },
): AsyncGenerator<TnefItem, void> {
  const length = await reader.takeUint32();
  const padding = padded(length) - length;
  if (TEXTS.has(id) && (type === STRING8 || type === UNICODE)) {
    const text = await readText(reader, length, type, state.charset);
    if (text !== '' && !file.texts.has(id)) file.texts.set(id, text);
  } else if (id === ATTACH_DATA_PROPERTY && (type === BINARY || (type === OBJECT && length >= GUID_BYTES))) {
    const guidBytes = type === OBJECT ? GUID_BYTES : 0;
    const isItem = (await reader.take(guidBytes)).equals(ITEM_GUID);
    file.isItem ||= isItem && !file.hasContent;
    yield* readContent(reader, state, file, length - guidBytes);
  } else {
    await reader.skip(length);
  }
  await reader.skip(Math.min(padding, reader.left));
}

/** Without the NUL at its end. */
async function readText(reader: ByteReader, length: number, type: number, charset: string | null): Promise<string> {
  const kept = Math.min(length, attachmentFieldCharsMax * 4);
  const bytes = await reader.take(kept);
  await reader.skip(length - kept);
  const text =
    type === UNICODE
      ? new TextDecoder('utf-16le').decode(bytes)
      : charset === null
        ? decodeBytes(bytes)
        : new TextDecoder(charset).decode(bytes);
  return text.split('\0', 1)[0] ?? '';
}

function* endFile(state: State): Generator<TnefItem, void> {
  if (state.file === null) return;
  const { texts, title, isItem } = state.file;
  const text = (...ids: readonly number[]): string | null =>
    ids.map((id) => texts.get(id)).find((found) => found !== undefined) ?? null;
  const name = text(ATTACH_LONG_FILENAME) ?? (title || null) ?? text(ATTACH_FILENAME, DISPLAY_NAME);
  const contentType = isItem ? 'application/ms-tnef' : text(ATTACH_MIME_TAG);
  yield { kind: 'end', file: { name, contentType, contentId: text(ATTACH_CONTENT_ID) } };
  state.file = null;
}

/** Windows code pages that the platform's decoder knows; the others are mostly ASCII. */
const CHARSETS: ReadonlyMap<number, string> = new Map([
  [866, 'ibm866'],
  [932, 'shift_jis'],
  [936, 'gbk'],
  [949, 'euc-kr'],
  [950, 'big5'],
  [65_001, 'utf-8'],
]);

function charsetOf(codepage: number): string | null {
  const isWindows = codepage === 874 || (codepage >= 1250 && codepage <= 1258);
  return isWindows ? `windows-${codepage}` : (CHARSETS.get(codepage) ?? null);
}

function padded(length: number): number {
  return length + ((4 - (length % 4)) % 4);
}
