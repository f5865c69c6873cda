/** Every bound of the egress policy. */

/** Characters of a host name, final dot excluded (RFC 1035 §2.3.4). */
export const hostCharsMax = 253;
/** Characters of a webhook URL. */
export const urlCharsMax = 2048;
/** Characters of the caller's own host or URL that an error quotes. */
export const quotedCharsMax = 120;
/** Addresses of one name that are looked at; what a resolver answers beyond them is not connected to. */
export const addressesMax = 64;
/** Milliseconds that one DNS lookup may take. */
export const lookupTimeoutMs = 10_000;
/** A look-up that takes longer counts among those that hang, which have few threads; where no answer comes of it, its name is left alone for so long. */
export const slowLookupMs = 1_000;
export const hungRestMs = 30_000;
/** Names of which it is known how their look-up went. */
export const knownNamesMax = 10_000;
/** Entries of POPBRIDGE_EGRESS_ALLOW. */
export const allowRulesMax = 1000;
/** Milliseconds for which new requests are sent on the connections that there are: where a name leads, and whether it may, is asked again then. */
export const connectionsAgeMsMax = 120_000;
/** Milliseconds that a form and its answer may take in all, octets of the answer, and connections to one endpoint at once. */
export const formTimeoutMs = 10_000;
export const formAnswerBytesMax = 64 * 1024;
export const formConnectionsMax = 20;
/** Milliseconds until the egress proxy has to have taken up a connection, and addresses of one endpoint that it is asked for. */
export const proxyConnectTimeoutMs = 5_000;
export const tunnelTriesMax = 4;
