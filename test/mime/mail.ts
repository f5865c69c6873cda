/** Raw messages for tests, written with bare line feeds. */

/** Characters above U+00FF are not allowed: give bytes instead. */
export function mail(...pieces: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece.replaceAll('\n', '\r\n'), 'latin1') : piece)),
  );
}

/** A multipart with boundary `b`; each part is header section, empty line, body. */
export function multipart(subtype: string, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const opened = parts.flatMap((part) => ['--b\n', part, '\n']);
  return mail(
    `Subject: parts\nMIME-Version: 1.0\nContent-Type: multipart/${subtype}; boundary=b\n\n`,
    ...opened,
    '--b--\n',
  );
}
