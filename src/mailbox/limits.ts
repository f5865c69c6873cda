/** Milliseconds that a fetch of the schedule is remembered that may not have ended. */
export const scheduledMs = 24 * 60 * 60 * 1000;
/** How often a change is tried that another one comes before. */
export const changesMax = 10;
