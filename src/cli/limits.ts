/** Every bound of the command line. */

/** How often all is looked through until nothing is left to seal anew: more than two are needed only where others change it all the time. */
export const passesMax = 10;
/** Values that cannot be opened and are named. */
export const failuresNamedMax = 100;
