/** Every bound of `src/config`. */

/** Of a file of master keys, in bytes: hundreds of keys with comments. */
export const masterKeysFileBytesMax = 65_536;
