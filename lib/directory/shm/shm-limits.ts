// Bounds of the directory in shared memory.

/** Changes made under one write lock. Readers of the lock get their turn between two. */
export const WRITES_PER_LOCK = 64;
/** Rows looked at before the event loop gets its turn: well under a millisecond. */
export const ROWS_PER_TURN = 256;
/** Ms between two attempts to remove the rows of a dead worker, when the lock could not be had. */
export const REMOVAL_RETRY_MS = 500;
/** Ms between two looks at the names of the shared objects, which another program may remove. */
export const OBJECTS_CHECK_MS = 1_000;
/** Ms that the clients of a dead worker have to register again before their names are free. */
export const ORPHAN_GRACE_MS = 5_000;
