/** Characters of text, and of HTML, that an event carries. */
export const bodyCharsMax = 64 * 1024;
