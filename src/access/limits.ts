/** Characters of a link's token: the longest that is made is shorter. */
export const tokenCharsMax = 300;
