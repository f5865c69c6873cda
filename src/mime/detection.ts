/**
 * What a file is by its own first bytes, beside what its sender says that it is.
 *
 * A type is told by signature: text, and whatever else has none, stays unknown. It is a hint for whoever filters attachments, and
 * no proof that the file is sound or harmless.
 */
import { fileTypeFromBuffer } from 'file-type';

/** @returns `type/subtype` in lower case, or null where the bytes have no signature that is known. */
export async function detectContentType(firstBytes: Uint8Array): Promise<string | null> {
  try {
    const found = await fileTypeFromBuffer(firstBytes);
    return found === undefined ? null : (found.mime.split(';', 1)[0] ?? null);
  } catch {
    // Some formats are told by reading on from their signature, which damaged bytes, or the first of many, may not bear.
    return null;
  }
}
