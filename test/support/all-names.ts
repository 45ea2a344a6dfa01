/** A set that has every name. */
export const ALL_NAMES: ReadonlySet<string> = Object.assign(new Set<string>(), { has: () => true });
