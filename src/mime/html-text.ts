/** HTML to readable text, for messages that say something in HTML only. */
import { convert } from 'html-to-text';
import type { HtmlToTextOptions } from 'html-to-text';
import { htmlDepthMax, htmlToTextCharsMax } from './limits.ts';

const OPTIONS: HtmlToTextOptions = {
  wordwrap: false,
  limits: { maxDepth: htmlDepthMax, maxInputLength: htmlToTextCharsMax },
  selectors: [
    { selector: 'a', options: { hideLinkHrefIfSameAsText: true, ignoreHref: false } },
    { selector: 'img', format: 'skip' },
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, options: { uppercase: false } })),
  ],
};

/** @returns null for HTML that cannot be converted in reasonable time. */
export function convertHtml(html: string): string | null {
  const input = html.slice(0, htmlToTextCharsMax);
  if (nestsDeeperThan(input, htmlDepthMax)) return null;
  try {
    return convert(input, OPTIONS);
  } catch {
    return null;
  }
}

/** Elements that hold nothing, or that the next of their kind closes: unclosed runs of them are sloppy, and do not nest. */
const FLAT_ELEMENTS =
  /^(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr|p|li|dt|dd|option|optgroup|tr|td|th|thead|tbody|tfoot|rt|rp)$/;

/** Counts open elements in one pass. Errs on the side of deep where end tags are missing or crossed. */
function nestsDeeperThan(html: string, depthMax: number): boolean {
  let depth = 0;
  for (const [, slash, name] of html.matchAll(/<(\/?)([a-z][\w:-]*)/gi)) {
    if (FLAT_ELEMENTS.test((name ?? '').toLowerCase())) continue;
    depth = Math.max(0, depth + (slash === '/' ? -1 : 1));
    if (depth > depthMax) return true;
  }
  return false;
}
