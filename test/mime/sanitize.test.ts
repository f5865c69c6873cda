/** What comes out is read as a browser reads it (parse5 follows the HTML standard), and once more after a round through `innerHTML`. */
import fc from 'fast-check';
import { html as standard, parse, parseFragment, serialize, type DefaultTreeAdapterTypes } from 'parse5';
import { describe, expect, test } from 'vitest';
import { htmlDepthMax, sanitizeCharsMax } from '../../src/mime/limits.ts';
import { sanitize } from '../../src/mime/sanitize.ts';

type Node = DefaultTreeAdapterTypes.Node;

/** Elements that a browser gives no power, and parses by no rules of their own. */
const HARMLESS = new Set(
  `a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del details dfn
  dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q rp rt
  ruby s samp section small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr`.split(
    /\s+/,
  ),
);
/** What the parser itself adds around a document. */
const FRAME = new Set(['html', 'head', 'body']);
const HARMLESS_ATTRIBUTES =
  /^(?:abbr|align|alt|bgcolor|border|cellpadding|cellspacing|color|colspan|data-remote-src|datetime|dir|face|headers|height|lang|nowrap|open|rel|reversed|rowspan|scope|size|span|start|title|type|valign|value|width)$/;

/** Everything in the tree that could do harm, in words. */
function harmIn(node: Node): string[] {
  const harm: string[] = [];
  if ('tagName' in node) {
    const { tagName } = node;
    if (!HARMLESS.has(tagName) && !FRAME.has(tagName)) harm.push(`<${tagName}>`);
    if (node.namespaceURI !== standard.NS.HTML) harm.push(`<${tagName}> of another namespace`);
    for (const { name, value } of node.attrs) {
      const isHarmless =
        HARMLESS_ATTRIBUTES.test(name) ||
        (name === 'href' && tagName === 'a' && /^(?:https?|mailto|tel):/.test(value)) ||
        (name === 'src' &&
          tagName === 'img' &&
          /^(?:cid:|data:image\/(?!svg)[\w.-]+;base64,[\w+/=\s%-]*$)/i.test(value)) ||
        (name === 'style' &&
          !/[\\<>@{}]|url|expression|import|behaviou?r|binding|position|(?:^|;)margin[^;]*-/i.test(value));
      if (!isHarmless) harm.push(`<${tagName} ${name}="${value}">`);
    }
  }
  if (node.nodeName === '#comment') harm.push('a comment');
  return 'childNodes' in node ? [...harm, ...node.childNodes.flatMap(harmIn)] : harm;
}

/** As the body of a page, with and without scripting, as `innerHTML`, and as what a second round makes of that. */
function harmOf(html: string): string[] {
  const once = parseFragment(html);
  const trees: Node[] = [
    once,
    parseFragment(serialize(once)),
    parse(html),
    parse(`<!doctype html><body>${html}`, { scriptingEnabled: false }),
    parseFragment(`<div>${html}</div>`, { scriptingEnabled: false }),
    parse(`<!doctype html><table><tr><td>${html}</td></tr></table>`),
  ];
  return trees.flatMap(harmIn);
}

const shown = (html: string): string => {
  const sanitized = sanitize(html);
  if (sanitized.html === null) throw new Error(sanitized.failure);
  return sanitized.html;
};

const ATTACKS: readonly string[] = [
  '<script>alert(1)</script>',
  '<SCRIPT SRC=//x.example/x.js></SCRIPT>',
  '<scr<script>ipt>alert(1)</scr</script>ipt>',
  '<script/x>alert(1)</script',
  '<<script>alert(1);//<</script>',
  '<img src=x onerror=alert(1)>',
  '<img/src="x"/onerror=alert(1)>',
  '<img src="x` `<script>alert(1)</script>"` `>',
  '<img """><script>alert(1)</script>">',
  '<IMG SRC=javascript:alert(1)>',
  '<IMG SRC="jav&#x09;ascript:alert(1);">',
  '<img src="data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+">',
  '<img src="data:image/svg+xml,<svg onload=alert(1)>">',
  '<img src="data:text/html,<script>alert(1)</script>">',
  '<img src=cid:x" onerror="alert(1)>',
  '<img data-remote-src="javascript:alert(1)" src="https://x.example/">',
  '<img srcset="https://x.example/a 1x" src="//x.example/y" lowsrc=x dynsrc=y>',
  '<a href="javascript:alert(1)">x</a>',
  '<a href=" &#14; javascript:alert(1)">x</a>',
  '<a href="java\nscript:alert(1)">x</a>',
  '<a href="java&Tab;script&colon;alert(1)">x</a>',
  '<a href="&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A alert(1)">x</a>',
  '<a href="JaVaScRiPt:alert(1)">x</a>',
  '<a href="vbscript:msgbox(1)">x</a>',
  '<a href="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==">x</a>',
  '<a href="feed:javascript:alert(1)">x</a><a href="view-source:x">x</a><a href="blob:https://x/y">x</a>',
  '<a href="https://x.example" ping="https://y.example" target=_blank rel=opener onclick=alert(1)>x</a>',
  '<a href="/admin/delete">x</a><a href="?a">x</a><a href="#a">x</a><a href="//x.example">x</a><a href="\\\\x.example">x</a>',
  '<a xlink:href="javascript:alert(1)" href\x00="javascript:alert(1)">x</a>',
  '<base href="javascript:/"><a href="alert(1)">x</a>',
  '<meta http-equiv=refresh content="0;url=javascript:alert(1)">',
  '<link rel=stylesheet href=//x.example/x.css><style>@import "//x.example";</style>',
  '<style>*{background:url(//x.example)}</style><style><img src=x onerror=alert(1)></style>',
  '<div style="background:url(javascript:alert(1))">x</div>',
  '<div style="background-image:u\\72l(//x.example)">x</div>',
  '<div style="width:expression(alert(1))">x</div><div style="behavior:url(x.htc)">x</div>',
  '<div style="color:red;}*{background:url(//x.example)}">x</div>',
  '<div style="position:fixed;top:0;left:0;width:100%;height:100%;z-index:9">x</div>',
  '<div style="margin:-9999px 0 0 -9999px">x</div><div style="color:var(--x);font:image-set(\'x\')">x</div>',
  '<div style="font-family:\'a;}</style><script>alert(1)</script>\'">x</div>',
  '<div background="javascript:alert(1)"><body background=x onload=alert(1)><table background=x><td background=y>',
  '<form action=//x.example><input name=q autofocus onfocus=alert(1)><button formaction=javascript:alert(1)>go</button></form>',
  '<iframe src=javascript:alert(1)></iframe><iframe srcdoc="<script>alert(1)</script>"></iframe>',
  '<iframe><img src=x onerror=alert(1)></iframe>',
  '<object data=x.swf></object><embed src=x.swf><applet code=x></applet><param name=movie value=x>',
  '<svg onload=alert(1)><script>alert(1)</script></svg><svg><animate onbegin=alert(1) attributeName=x></svg>',
  '<svg><a xlink:href="javascript:alert(1)"><text>x</text></a></svg><svg><use href="data:image/svg+xml,x#x"></svg>',
  '<math href="javascript:alert(1)">x</math><math><mtext></form><form><mglyph><svg><mtext><style><path id="</style><img onerror=alert(1) src>">',
  '<video src=x onerror=alert(1)></video><audio autoplay src=//x.example></audio><video><source onerror=alert(1)></video>',
  '<details open ontoggle=alert(1)>x</details><marquee onstart=alert(1)>x</marquee><isindex action=javascript:alert(1)>',
  '<div id=location name=x class=admin contenteditable onclick=alert(1)>x</div><img name=getElementById><a id=defaultView>x</a>',
  '<!--><script>alert(1)</script>--><!--[if IE]><script>alert(1)</script><![endif]--><!-- --!><img src=x onerror=alert(1)>',
  '<![CDATA[<script>alert(1)</script>]]><?xml version="1.0"?><?php echo 1 ?><!DOCTYPE x [<!ENTITY y "z">]>',
  '<plaintext><script>alert(1)</script>',
  '<p><b><a href="https://x.example/"onmouseover="alert(1)">x',
  '&lt;script&gt;alert(1)&lt;/script&gt;&amp;lt;img src=x onerror=alert(1)&amp;gt;',
  '<p title="--></style></title></textarea></script><img src=x onerror=alert(1)>">x</p>',
  '<a href="https://x.example/?&quot;><img src=x onerror=alert(1)>">x</a>',
  '<portal src=x></portal><slot name=x></slot><custom-x onclick=alert(1)>x</custom-x><x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>',
  '<div data-x="1" aria-label="x" is="x" part="x" slot="x" nonce="x" itemprop=x>x</div>',
];

/** Strings that change their meaning between a filter's parser and a browser's. */
const MUTATIONS: readonly string[] = [
  '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
  '<p><noscript></p><img title="</noscript><img src=x onerror=alert(1)>">',
  '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
  '<svg><p><style><g title="</style><img src onerror=alert(1)>">',
  '<math><mi><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
  '<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>',
  '<math><annotation-xml encoding="text/html"><style><img src=x onerror=alert(1)></style></annotation-xml></math>',
  '<svg><foreignObject><style><!--</style><img src=x onerror=alert(1)>--></foreignObject></svg>',
  '<svg><title><![CDATA[</title><img src=x onerror=alert(1)>]]></svg>',
  '<xmp><p title="</xmp><img src=x onerror=alert(1)>"></xmp>',
  '<textarea><p title="</textarea><img src=x onerror=alert(1)>"></textarea></textarea/>',
  '<title><p title="</title><img src=x onerror=alert(1)>"></title>',
  '<noembed><p title="</noembed><img src=x onerror=alert(1)>"></noembed><noframes><a title="</noframes><img src onerror=1>">',
  '<template><style></template><img src=x onerror=alert(1)>',
  '<select><template><style></select><img src=x onerror=alert(1)></template></select>',
  '<option><style></option></select><b><img src=xx: onerror=alert(1)></style></option>',
  '<table><td><svg><desc><td></desc><style><a title="</style><img src onerror=alert(1)>">',
  '<a><table><a href="javascript:alert(1)">x</a></table></a>',
  '<iframe><p title="</iframe><img src=x onerror=alert(1)>"></iframe>',
  '<div><listing>\n\n&lt;img src=x onerror=alert(1)&gt;</listing><pre>\n&lt;img src onerror=1&gt;</pre>',
  '<svg><a><p></a><style><!--</style>--><img src=x onerror=alert(1)></svg>',
  '<b title="&lt;img src=x onerror=alert(1)&gt;" title=2>&lt;!--</b><img title="--><img src=x onerror=alert(1)>">',
  '<frameset><frame src=javascript:alert(1)></frameset><body><p></body></html><img src=x onerror=alert(1)>',
];

describe('nothing that a browser could run, load, submit or be led by comes out of', () => {
  test.each([...ATTACKS, ...MUTATIONS].map((html) => [html]))('%s', (html) => {
    expect(harmOf(shown(html))).toEqual([]);
    expect(shown(shown(html))).toBe(shown(html));
  });

  test('these strings, in most of which it sees harm as they are', () => {
    const all = [...ATTACKS, ...MUTATIONS];
    // The others are aimed at parsers that do not follow the standard.
    expect(all.filter((html) => harmOf(html).length === 0)).toHaveLength(5);
  });

  test('any of these strings joined, cut and nested', () => {
    const piece = fc.oneof(
      fc.constantFrom(...ATTACKS, ...MUTATIONS),
      fc.constantFrom(...Array.from('<>"\'`=/ &;-!')),
      fc.constantFrom(
        '<p>',
        '</p>',
        '<table>',
        '<td>',
        '</table>',
        '<svg>',
        '<math>',
        '<style>',
        '<a href=',
        '-->',
        '<!--',
        ']]>',
      ),
      fc.constantFrom(...ATTACKS, ...MUTATIONS).chain((html) => fc.nat(html.length).map((from) => html.slice(from))),
      fc.constantFrom(...ATTACKS, ...MUTATIONS).chain((html) => fc.nat(html.length).map((to) => html.slice(0, to))),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        expect(harmOf(shown(pieces.join('')))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('what stays', () => {
  test.each([
    [
      'text and markup',
      '<h1>Hi</h1><p>a <b>b</b> <em>c</em><br>d</p><ul><li>e</ul>',
      '<h1>Hi</h1><p>a <b>b</b> <em>c</em><br />d</p><ul><li>e</li></ul>',
    ],
    [
      'the text of what is taken away, but for code',
      '<form><button>go</button><script>x</script><title>t</title></form>',
      'go',
    ],
    [
      'tables',
      '<table border=1 width="100%"><td align=center nowrap>x',
      '<table border="1" width="100%"><td align="center" nowrap>x</td></table>',
    ],
    [
      'harmless styles',
      `<p style="color:#fff!important;background:#eee;font:12px/1.5 'Segoe UI',Arial;margin:0 auto;color:rgba(1,2,3,.4)">x</p>`,
      `<p style="color:#fff !important;background:#eee;font:12px/1.5 'Segoe UI',Arial;margin:0 auto;color:rgba(1,2,3,.4)">x</p>`,
    ],
    ['styles that are shouted', '<P STYLE="COLOR: RED; POSITION: FIXED">x</P>', '<p style="COLOR:RED">x</p>'],
    [
      'links, which tell nobody where they were followed',
      '<a href="HTTPS://X.example/a b?c=1&d=2">x</a>',
      '<a href="https://x.example/a%20b?c=1&amp;d=2" rel="noopener noreferrer">x</a>',
    ],
    [
      'addresses of mail and telephones',
      '<a href="mailto:a@x.example?subject=s">m</a><a href=tel:+1>t</a>',
      '<a href="mailto:a@x.example?subject=s" rel="noopener noreferrer">m</a><a href="tel:+1" rel="noopener noreferrer">t</a>',
    ],
    [
      'images that the mail brings along',
      '<img src="cid:logo@x" alt=l><img src="data:image/png;base64,iVBORw0KGgo=">',
      '<img alt="l" src="cid:logo@x" /><img src="data:image/png;base64,iVBORw0KGgo=" />',
    ],
    [
      'the addresses of images from elsewhere, where they load nothing',
      '<img src="https://t.example/open.gif?id=1" width=1><img src="//t.example/x">',
      '<img width="1" data-remote-src="https://t.example/open.gif?id=1" /><img data-remote-src="https://t.example/x" />',
    ],
    ['entities', '&lt;b&gt; &amp;amp; &eacute; &#128512;', '&lt;b&gt; &amp;amp; é 😀'],
    ['nothing of nothing', '', ''],
  ])('%s', (_what, html, expected) => {
    const once = shown(html);
    // Closing slashes are nobody's business.
    expect(serialize(parseFragment(once))).toBe(serialize(parseFragment(expected)));
    expect(once).not.toMatch(/undefined|\[object/);
  });
});

test('what comes out is fit for JSON, whatever was cut or written by number', () => {
  for (const html of [
    `${'x'.repeat(sanitizeCharsMax - 1)}😀`,
    '<p title="&#xD800;">&#xDFFF;&#0;&#x110000;\0\uD800</p>',
  ]) {
    const text = shown(html);
    expect([text.isWellFormed(), text.includes('\0')]).toEqual([true, false]);
  }
});

describe('what is out of bounds', () => {
  test('deeper than the parser can follow: a failure at once, however it is nested', () => {
    const fits = '<div>'.repeat(htmlDepthMax);
    expect(sanitize(fits)).toMatchObject({ html: expect.stringContaining('</div>') as string });
    const fromMs = performance.now();
    for (const unit of ['<div>', '<td><li>', '<b style=x:y>', '<iframe><b>', '<svg><a>', '<unknown>']) {
      expect(sanitize(unit.repeat(150_000))).not.toMatchObject({
        html: expect.stringMatching(/(?:<div>){1001}/) as string,
      });
    }
    expect(sanitize(`${fits}<div>`)).toEqual({ html: null, failure: 'too_deep' });
    expect(sanitize('<td><li>'.repeat(htmlDepthMax))).toEqual({ html: null, failure: 'too_deep' });
    expect(performance.now() - fromMs).toBeLessThan(5000);
  });

  test('longer than the bound: its beginning, marked as such', () => {
    const fits = 'x'.repeat(sanitizeCharsMax);
    expect(sanitize(fits)).toEqual({ html: fits, isCut: false });
    expect(sanitize(`${fits}<p>y`)).toEqual({ html: fits, isCut: true });
    expect(harmOf(shown(`${'x'.repeat(sanitizeCharsMax - 12)}<img src=x onerror=alert(1)>`))).toEqual([]);
  });

  test.each([
    ['styles', '<b style="color:red">x</b>'],
    ['end tags that nothing has opened', '</a>'],
    ['less-than signs', '<'],
    ['comments', '<!--x-->'],
    ['noscripts', '<p><noscript></p></noscript '],
    ['images', '<img src=https://x.example/>'],
  ])('many %s take no more than a moment', (_what, unit) => {
    const html = '<div>'.repeat(htmlDepthMax - 10) + unit.repeat(sanitizeCharsMax / unit.length - 6000);
    const fromMs = performance.now();
    sanitize(html);
    expect(performance.now() - fromMs).toBeLessThan(20_000);
  });

  test('one attribute as long as all of it is read in a moment, too', () => {
    for (const value of ['color:red;', 'a{', '(', '/*', 'color:rgb(1)', "'", '\\']) {
      const fromMs = performance.now();
      shown(`<b style="${value.repeat((sanitizeCharsMax - 100) / value.length)}">x</b>`);
      expect(performance.now() - fromMs).toBeLessThan(5000);
    }
  });
});
