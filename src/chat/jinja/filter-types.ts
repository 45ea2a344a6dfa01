/**
 * @file What a filter is.
 */
import type { Arguments } from './arguments.ts';
import type { Budget } from './budget.ts';
import type { Kwargs, Value } from './values.ts';

/** What filters need of the interpreter. */
export interface FilterScope {
  readonly budget: Budget;
  filter(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): Value;
  test(name: string, value: Value, args: readonly Value[]): boolean;
}

export type Filter = (value: Value, args: Arguments, scope: FilterScope) => Value;
/** A filter whose arguments are for another filter or test has no names for them. */
export type RawFilter = (value: Value, args: readonly Value[], kwargs: Kwargs, scope: FilterScope) => Value;
export type FilterTable = Readonly<Record<string, readonly [names: readonly string[], run: Filter]>>;
