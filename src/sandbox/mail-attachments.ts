/** Small real files for the sandbox mails to carry. */

/** An envelope of 16 by 16 pixels. */
export const ENVELOPE_PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEX///8dTom7orpSAAAAKElEQVR42mNgYGCo/8eQwMYQwMXg' +
    'IcTgosTg5MTg2MTgwIRAQAUwAAC7lQbKejf23wAAAABJRU5ErkJggg==',
  'base64',
);

/** A PDF of one page with one line on it, `text` being ASCII without brackets and backslashes. */
export function makePdf(text: string): Buffer {
  const content = `BT /F1 18 Tf 72 760 Td (${text}) Tj ET`;
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>',
    `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
  ];
  let file = '%PDF-1.4\n';
  // A cross-reference entry is 20 bytes long with its line end, ISO 32000-1 section 7.5.4.
  let xref = `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`;
  for (const [index, object] of objects.entries()) {
    xref += `${String(file.length).padStart(10, '0')} 00000 n \n`;
    file += `${index + 1} 0 obj\n${object}\nendobj\n`;
  }
  const trailer = `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${file.length}\n%%EOF\n`;
  return Buffer.from(file + xref + trailer, 'latin1');
}
