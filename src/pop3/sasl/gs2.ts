/** The header that SCRAM and OAUTHBEARER share (RFC 5801 §4): channel binding and authorization identity. */

/** A comma would end the name, an equals sign begin an escape (RFC 5801 §4, `saslname`). */
export function escapeName(name: string): string {
  return name.replaceAll('=', '=3D').replaceAll(',', '=2C');
}

/** @param flag `n`, `y` or `p=TYPE`. */
export function gs2Header(flag: string, authzid: string): string {
  return `${flag},${authzid === '' ? '' : `a=${escapeName(authzid)}`},`;
}
