/**
 * @file JSON values by their kind.
 */

/** Whether a value that was read as JSON is an object: no null, and no list. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
