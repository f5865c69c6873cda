/** How often a change is tried that another one comes before. */
export const changesMax = 10;
