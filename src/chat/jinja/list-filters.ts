/**
 * @file Filters of lists and dicts.
 */
import type { Arguments } from './arguments.ts';
import { JinjaError } from './errors.ts';
import type { FilterScope, FilterTable, RawFilter } from './filter-types.ts';
import { item, lookUp } from './operators.ts';
import {
  compare,
  equals,
  floatValue,
  hasPairs,
  isFloat,
  isTrue,
  iterate,
  type Kwargs,
  Lazy,
  lengthOf,
  numberOf,
  orUndefined,
  type Tuple,
  tupleOf,
  typeName,
  Undefined,
  type Value,
} from './values.ts';
import { repr, str } from './write.ts';

/** Texts are compared without their case where the filter is not told otherwise. */
const folded = (value: Value, isSensitive: boolean): Value =>
  typeof value === 'string' && !isSensitive ? value.toLowerCase() : value;

function keyFunction(args: Arguments, scope: FilterScope): (value: Value) => Value[] {
  const isSensitive = args.bool('case_sensitive', false);
  const attribute = args.get('attribute');
  if (attribute === null) return (value) => [folded(value, isSensitive)];
  const paths = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  return (value) => paths.map((path) => folded(lookUp(value, path, scope.budget), isSensitive));
}

function sorted(items: readonly Value[], keyOf: (value: Value) => Value[], reverse: boolean): Value[] {
  const keyed = items.map((value) => ({ value, key: keyOf(value) }));
  keyed.sort((a, b) => (reverse ? compare(b.key, a.key) : compare(a.key, b.key)));
  return keyed.map(({ value }) => value);
}

function extreme(value: Value, args: Arguments, scope: FilterScope, sign: 1 | -1): Value {
  const items = iterate(value);
  if (items.length === 0) return new Undefined('UndefinedError: No aggregated item, sequence was empty.');
  const keyOf = keyFunction(args, scope);
  return items.reduce((best, one) => (sign * compare(keyOf(one), keyOf(best)) > 0 ? one : best));
}

function unique(value: Value, args: Arguments, scope: FilterScope): Value {
  const keyOf = keyFunction(args, scope);
  const seen: Value[][] = [];
  const fresh = iterate(value).filter((one) => {
    const key = keyOf(one);
    scope.budget.step(seen.length);
    const isKnown = seen.some((other) => equals(other, key));
    if (!isKnown) seen.push(key);
    return !isKnown;
  });
  return new Lazy(fresh);
}

function groupBy(value: Value, args: Arguments, scope: FilterScope): Value {
  const fallback = args.has('default') ? args.need('default') : undefined;
  const isSensitive = args.bool('case_sensitive', false);
  const groupOf = (one: Value): Value => {
    const found = lookUp(one, args.need('attribute'), scope.budget);
    return found instanceof Undefined && fallback !== undefined ? fallback : found;
  };
  const keyOf = (one: Value): Value => folded(groupOf(one), isSensitive);
  const groups: Tuple[] = [];
  for (const one of sorted(iterate(value), (each) => [keyOf(each)], false)) {
    const last = groups.at(-1);
    if (last && equals(folded(last[0], isSensitive), keyOf(one))) (last[1] as Value[]).push(one);
    else groups.push(tupleOf(groupOf(one), [one]));
  }
  return groups;
}

function batch(value: Value, args: Arguments): Value {
  const count = args.int('linecount');
  const fill = args.get('fill_with');
  if (count < 1 || count > 100_000) throw new JinjaError(`ValueError: a batch of ${count} items`);
  const items = iterate(value);
  const rows: Value[][] = [];
  for (let i = 0; i < items.length; i += count) rows.push(items.slice(i, i + count));
  while (fill !== null && rows.length > 0 && rows.at(-1)!.length < count) rows.at(-1)!.push(fill);
  return new Lazy(rows);
}

function sliceColumns(value: Value, args: Arguments): Value {
  const count = args.int('slices');
  const fill = args.get('fill_with');
  if (count < 1 || count > 100_000) throw new JinjaError(`ValueError: ${count} slices`);
  const items = iterate(value);
  const [size, larger] = [Math.floor(items.length / count), items.length % count];
  const columns: Value[][] = [];
  for (let column = 0, at = 0; column < count; column++) {
    const length = size + (column < larger ? 1 : 0);
    const part = items.slice(at, at + length);
    if (fill !== null && column >= larger) part.push(fill);
    columns.push(part);
    at += length;
  }
  return new Lazy(columns);
}

function first(value: Value): Value {
  return orUndefined(value instanceof Lazy ? value.next() : iterate(value)[0], 'No first item, sequence was empty.');
}

function reverse(value: Value): Value {
  if (typeof value === 'string')
    return hasPairs(value) ? Array.from(value).reverse().join('') : [...value].reverse().join('');
  return new Lazy([...iterate(value)].reverse());
}

function join(value: Value, args: Arguments, scope: FilterScope): Value {
  const separator = args.get('d') === null ? '' : str(args.get('d'));
  const attribute = args.get('attribute');
  const parts = iterate(value).map((one) => str(attribute === null ? one : lookUp(one, attribute, scope.budget)));
  scope.budget.spend(parts.reduce((sum, part) => sum + part.length + separator.length, 0));
  return parts.join(separator);
}

function sum(value: Value, args: Arguments, scope: FilterScope): Value {
  const attribute = args.get('attribute');
  const start = args.has('start') ? args.need('start') : 0;
  const items = iterate(value).map((one) => (attribute === null ? one : lookUp(one, attribute, scope.budget)));
  if (Array.isArray(start)) return start.concat(...items.map(iterate));
  const total = [start, ...items].reduce((all: number, one) => all + numberOf(one), 0);
  return [start, ...items].some(isFloat) ? floatValue(total) : total;
}

function dictSort(value: Value, args: Arguments): Value {
  if (!(value instanceof Map)) throw new JinjaError(`TypeError: dictsort takes a dict, but got ${typeName(value)}`);
  const by = args.text('by', 'key');
  if (by !== 'key' && by !== 'value')
    throw new JinjaError("FilterArgumentError: You can only sort by either 'key' or 'value'");
  const pairs = [...value].map(([key, one]) => tupleOf(key, one));
  const isSensitive = args.bool('case_sensitive', false);
  return sorted(
    pairs,
    (pair) => [folded((pair as Tuple)[by === 'key' ? 0 : 1], isSensitive)],
    args.bool('reverse', false),
  );
}

export const LIST_FILTERS: FilterTable = {
  length: [[], (value) => lengthOf(value)],
  list: [[], (value) => [...iterate(value)]],
  first: [[], first],
  last: [
    [],
    (value) => {
      if (value instanceof Lazy) throw new JinjaError("TypeError: 'generator' object is not reversible");
      return orUndefined(iterate(value).at(-1), 'No last item, sequence was empty.');
    },
  ],
  reverse: [[], reverse],
  join: [['d', 'attribute'], join],
  sort: [
    ['reverse', 'case_sensitive', 'attribute'],
    (value, args, scope) => sorted(iterate(value), keyFunction(args, scope), args.bool('reverse', false)),
  ],
  unique: [['case_sensitive', 'attribute'], unique],
  min: [['case_sensitive', 'attribute'], (value, args, scope) => extreme(value, args, scope, -1)],
  max: [['case_sensitive', 'attribute'], (value, args, scope) => extreme(value, args, scope, 1)],
  sum: [['attribute', 'start'], sum],
  groupby: [['attribute', 'default', 'case_sensitive'], groupBy],
  batch: [['linecount', 'fill_with'], batch],
  slice: [['slices', 'fill_with'], sliceColumns],
  dictsort: [['case_sensitive', 'by', 'reverse'], dictSort],
  attr: [
    ['name'],
    (value, args, scope) => {
      const found = value instanceof Map ? undefined : item(value, args.need('name'), scope.budget);
      return orUndefined(found, `no attribute ${repr(args.need('name'))}`);
    },
  ],
};

const pick =
  (wanted: boolean): RawFilter =>
  (value, [name, ...rest], _, scope) =>
    new Lazy(
      iterate(value).filter((one) => {
        scope.budget.step();
        return wanted === (name === undefined ? isTrue(one) : scope.test(str(name), one, rest));
      }),
    );

const pickBy =
  (wanted: boolean): RawFilter =>
  (value, [attribute, name, ...rest], _, scope) => {
    if (attribute === undefined) throw new JinjaError('FilterArgumentError: Missing parameter for attribute name');
    return new Lazy(
      iterate(value).filter((one) => {
        scope.budget.step();
        const part = lookUp(one, attribute, scope.budget);
        return wanted === (name === undefined ? isTrue(part) : scope.test(str(name), part, rest));
      }),
    );
  };

function map(value: Value, args: readonly Value[], kwargs: Kwargs, scope: FilterScope): Value {
  const attribute = kwargs.get('attribute');
  const apply = (one: Value): Value => {
    scope.budget.step();
    if (args.length > 0) return scope.filter(str(args[0]), one, args.slice(1), kwargs);
    if (attribute === undefined) throw new JinjaError('FilterArgumentError: map requires a filter argument');
    const found = lookUp(one, attribute, scope.budget);
    return found instanceof Undefined && kwargs.has('default') ? kwargs.get('default')! : found;
  };
  return new Lazy(iterate(value).map(apply));
}

/** Filters whose arguments are for another filter or test. */
export const RAW_FILTERS: ReadonlyMap<string, RawFilter> = new Map([
  ['select', pick(true)],
  ['reject', pick(false)],
  ['selectattr', pickBy(true)],
  ['rejectattr', pickBy(false)],
  ['map', map],
]);
