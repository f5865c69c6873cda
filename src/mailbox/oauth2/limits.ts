/** Every bound of OAuth 2.0. Times in milliseconds. */

/** A token is got anew when it has less left than this, or than `refreshShare` of its life where that is short. */
export const refreshAheadMs = 5 * 60 * 1000;
export const refreshShare = 0.25;
/** How long a token is taken to live where its endpoint does not say, and at most whatever it says. */
export const tokenLifeMs = 10 * 60 * 1000;
export const tokenLifeMsMax = 24 * 60 * 60 * 1000;
/** How long whoever asks for a token keeps others from asking: more than request and storing take. */
export const turnMs = 30_000;
/** How long others wait for that token, and how often they look. */
export const turnWaitMs = 20_000;
export const turnRecheckMs = 100;
/** How long an endpoint in trouble is left alone where it does not say, and at most whatever it says. */
export const endpointPauseMs = 1_000;
export const endpointPauseMsMax = 60 * 60 * 1000;
/** Tries to store a rotated refresh token while Redis is away, and the first pause between them, doubled each time. */
export const rotationTriesMax = 6;
export const rotationPauseMs = 250;
/** Characters that are quoted of what a token endpoint says. */
export const quotedCharsMax = 300;
/** Characters of an access token: with user name and host it has to fit into a line of 16 KiB in base64. */
export const accessTokenCharsMax = 11_000;
/** Characters of a refresh token. */
export const refreshTokenCharsMax = 16 * 1024;
