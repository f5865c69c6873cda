/** The name under which a browser may save what a stranger has named: no place, no disguise, and no longer than it can be. */
import { downloadNameBytesMax, downloadNameCharsMax } from './limits.ts';

/** What separates folders, what Windows takes for something else, and what shells and header parsers trip over. */
const SPECIAL = /["*/:<>?\\|]/g;
/** Control characters, and those that make a name look like another: overrides of direction, what is not to be seen. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/gu;

/** @returns null where nothing of the name is left. */
export function downloadName(written: string | null): string | null {
  const name = (written ?? '')
    .replaceAll(INVISIBLE, '')
    .replaceAll(SPECIAL, '_')
    .replaceAll(/\s+/g, ' ')
    // Dots in front hide a file, or name a folder; Windows drops those behind, and so changes the type.
    .replaceAll(/^[. ]+|[. ]+$/g, '');
  const fitting = fit(name);
  return /[^_. ]/.test(fitting) ? fitting : null;
}

/** Cuts the middle out: the extension stays, where it is one. */
function fit(name: string): string {
  const extension = /\.[^. ]{1,16}$/.exec(name)?.[0] ?? '';
  const stem = Array.from(name.slice(0, name.length - extension.length));
  while (stem.length > downloadNameCharsMax) stem.length = downloadNameCharsMax;
  while (Buffer.byteLength(stem.join('') + extension) > downloadNameBytesMax) stem.pop();
  return stem.join('').trimEnd() + extension;
}
