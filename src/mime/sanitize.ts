/**
 * HTML of a mail made fit to be shown: no script, no form, nothing that is loaded from elsewhere, nothing that lays itself
 * over what is around it. What stays is text, tables, harmless styles, checked links and the images that the mail brings along.
 *
 * It is one layer: who shows the result still does so in a sandboxed frame with a content security policy. It does not bound
 * its own time, which only the thread around it can (pool.ts).
 */
import sanitizeHtml from 'sanitize-html';
import type { Attributes, IOptions } from 'sanitize-html';
import { htmlDepthMax, sanitizeCharsMax, styleCharsMax } from './limits.ts';
import { clean } from './text.ts';

/** Why there is no sanitised HTML; the last three are the thread's. */
export type SanitizeFailure = 'too_deep' | 'time_limit' | 'memory_limit' | 'crashed';

export type SanitizedHtml =
  | {
      readonly html: string;
      /** Whether only the beginning of a long input is in it. */
      readonly isCut: boolean;
    }
  | { readonly html: null; readonly failure: SanitizeFailure };

export function sanitize(html: string): SanitizedHtml {
  const depth = watchDepth();
  try {
    const { text, cut } = clean(html, sanitizeCharsMax);
    return { html: sanitizeHtml(text, { ...POLICY, ...depth }), isCut: cut };
  } catch (error) {
    if (error instanceof TooDeep) return { html: null, failure: 'too_deep' };
    throw error;
  }
}

class TooDeep extends Error {}

/** Stops the parser at the bound, by its own count of open elements: its time grows with the square of them. */
function watchDepth(): Pick<IOptions, 'onOpenTag' | 'onCloseTag'> {
  let depth = 0;
  return {
    onOpenTag() {
      depth += 1;
      if (depth > htmlDepthMax) throw new TooDeep();
    },
    onCloseTag() {
      depth -= 1;
    },
  };
}

/** None that is parsed by rules of its own (svg, math, template, select, ...): what is written comes back as it was meant. */
const TAGS =
  `a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del
  details dfn dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p
  pre q rp rt ruby s samp section small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var
  wbr`.split(/\s+/);

/** Whose content is no text of the mail. Other elements that are not allowed leave their text behind. */
const DROPPED_WITH_CONTENT =
  `applet audio canvas embed frameset iframe math noembed noframes noscript object option script
  select style svg template textarea title video xmp`.split(/\s+/);

/** Lengths, colours, words and names of fonts: no escape, no function but those of colours, so no `url()`. */
const VALUE = new RegExp(
  String.raw`^(?=.{1,${styleCharsMax}}$)(?:[-\w#%.,\s'"/]|\b(?:rgb|hsl)a?\([-\d\s.,%/deg]*\))+$`,
  'i',
);
/** The same without a negative length, which would move what is in the mail out of its place. */
const OUTWARD_VALUE = new RegExp(String.raw`^(?!.*-[\d.])${VALUE.source.slice(1)}`, 'i');

const STYLES =
  `background background-color border border-bottom border-bottom-color border-bottom-style border-bottom-width
  border-collapse border-color border-left border-left-color border-left-style border-left-width border-radius border-right
  border-right-color border-right-style border-right-width border-spacing border-style border-top border-top-color
  border-top-style border-top-width border-width box-sizing clear color direction display float font font-family font-size
  font-style font-variant font-weight height letter-spacing line-height list-style-type max-height max-width min-height
  min-width overflow-wrap padding padding-bottom padding-left padding-right padding-top table-layout text-align
  text-decoration text-transform unicode-bidi vertical-align white-space width word-break word-spacing word-wrap`.split(
    /\s+/,
  );
const OUTWARD_STYLES = ['margin', 'margin-bottom', 'margin-left', 'margin-right', 'margin-top', 'text-indent'];

const POLICY: IOptions = {
  allowedTags: TAGS,
  nonTextTags: DROPPED_WITH_CONTENT,
  // Neither id, name nor class: they would meet those of the page around it.
  allowedAttributes: {
    '*': ['align', 'bgcolor', 'dir', 'height', 'lang', 'style', 'title', 'valign', 'width'],
    a: ['href', 'rel'],
    col: ['span'],
    colgroup: ['span'],
    details: ['open'],
    font: ['color', 'face', 'size'],
    img: ['alt', 'border', 'data-remote-src', 'src'],
    li: ['value'],
    ol: ['reversed', 'start', 'type'],
    table: ['border', 'cellpadding', 'cellspacing'],
    td: ['abbr', 'colspan', 'headers', 'nowrap', 'rowspan', 'scope'],
    th: ['abbr', 'colspan', 'headers', 'nowrap', 'rowspan', 'scope'],
    time: ['datetime'],
    ul: ['type'],
  },
  allowedSchemes: ['http', 'https', 'mailto', 'tel'],
  allowedSchemesByTag: { img: ['cid', 'data'] },
  allowProtocolRelative: false,
  allowedStyles: {
    // Compared as written; old mailers shout.
    '*': Object.fromEntries(
      [
        ...STYLES.map((name) => [name, VALUE] as const),
        ...OUTWARD_STYLES.map((name) => [name, OUTWARD_VALUE] as const),
      ].flatMap(([name, value]) => [name, name.toUpperCase()].map((spelling) => [spelling, [value]] as const)),
    ),
  },
  transformTags: {
    a: (tagName, attribs) => ({ tagName, attribs: checkLink(attribs) }),
    img: (tagName, attribs) => ({ tagName, attribs: checkImage(attribs) }),
  },
};

const LINK_PROTOCOLS = new Set(['http:', 'https:', 'mailto:', 'tel:']);

/** Whole addresses only: a relative one would lead into the site that shows the mail. Written as a browser reads it. */
function checkLink(written: Attributes): Attributes {
  const attribs = { ...written };
  delete attribs['href'];
  delete attribs['rel'];
  const url = URL.parse(written['href'] ?? '');
  if (!url || !LINK_PROTOCOLS.has(url.protocol)) return attribs;
  return { ...attribs, href: url.href, rel: 'noopener noreferrer' };
}

/** SVG is no mere picture. */
const INLINE_IMAGE =
  /^data:image\/(?:avif|bmp|gif|jpeg|jpg|pjpeg|png|webp|x-icon|vnd\.microsoft\.icon);base64,[\w+/=\s%-]*$/i;
const CONTENT_ID = /^cid:[^\s"'<>\\]+$/i;

/** An image from elsewhere would tell its sender that, when and where the mail is read: its address stays, and loads nothing. */
function checkImage({ src, 'data-remote-src': remote, ...attribs }: Attributes): Attributes {
  const written = (src ?? remote ?? '').trim();
  if (CONTENT_ID.test(written) || INLINE_IMAGE.test(written)) return { ...attribs, src: written };
  const url = URL.parse(written.startsWith('//') ? `https:${written}` : written);
  const isRemote = url?.protocol === 'https:' || url?.protocol === 'http:';
  return isRemote ? { ...attribs, 'data-remote-src': url.href } : attribs;
}
