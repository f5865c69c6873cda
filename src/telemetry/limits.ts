/** Every bound of `src/telemetry`. */

/** How often Redis is asked whether it answers, so that a part's silence can be told from its absence. */
export const livenessBeatMs = 5_000;
/** When that is overdue: the process stood still. More than two beats and the time limit of a command together. */
export const livenessLateMs = 20_000;
/** What a request for metrics may take to come in. */
export const metricsTimeoutMs = 10_000;
/** How long the process that served what all share keeps that, after it was last asked: longer than the pause between two scrapes. */
export const sharedTurnMs = 90_000;
