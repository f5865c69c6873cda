/** Which headers an owner may add to the requests of a webhook: none that frame a message, and none that popbridge sets itself. */
import { AppError } from '../errors.ts';

const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
/** RFC 9110 §5.5, without what a parser may read in two ways: no control characters, nothing beyond ASCII, no spaces at the ends. */
const VALUE = /^(?! )[\x20-\x7e]*(?<! )$/;
/** Hop-by-hop (RFC 9110 §7.6.1), framing, routing, and what is set by the sender. */
const REFUSED = new Set(
  (
    'connection keep-alive te trailer transfer-encoding upgrade http2-settings ' +
    'host content-length content-type content-encoding expect date user-agent accept-encoding'
  ).split(' '),
);
const REFUSED_PREFIX = /^(proxy-|webhook-)/;

/** @throws AppError `invalid_request`, which repeats no value. */
export function checkExtraHeaders(headers: Readonly<Record<string, string>>): void {
  const names = new Set<string>();
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase();
    if (!TOKEN.test(name)) throw refused(name, 'is not the name of a header');
    if (REFUSED.has(lower) || REFUSED_PREFIX.test(lower)) throw refused(name, 'is a header that cannot be set');
    if (names.has(lower)) throw refused(name, 'is there twice');
    if (!VALUE.test(value)) throw refused(name, 'has a value that is not printable ASCII without spaces at its ends');
    names.add(lower);
  }
}

function refused(name: string, detail: string): AppError {
  const pointer = `/headers/${name.slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')}`;
  return new AppError('invalid_request', `An extra header ${detail}.`, {
    fields: { errors: [{ in: 'body', pointer, detail }] },
  });
}
